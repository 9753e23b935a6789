"""What Airflow itself costs per task: CPU of its scheduler, its API server and the task's process.

The DAG of empty tasks and the project's own are backfilled by the real scheduler; CPU is read from
the processes of both.
"""

import statistics
import subprocess
import sys
import time
from typing import Final

import psutil

from benchmarks.rows import airflow as row
from benchmarks.scaling.costs import Cost
from benchmarks.scaling.processes import cpu_seconds
from benchmarks.stage import Stage
from billing_etl.hours import Hour, HourRange
from billing_etl.local.airflow import LocalAirflow
from billing_etl.local.processes import free_ports

_SOURCES: Final = 12
_HOURS: Final = 2
# list_sources, rate and report, beside one collect per source.
_OTHER_TASKS: Final = 3
_START_SECONDS: Final = 300.0
# Processes that have done all their work end a little later than the run.
_REST_SECONDS: Final = 2.0
_IMPORTS: Final = 3
_IMPORT: Final = "import time; import {}; print(time.process_time())"


def measure(stage: Stage) -> dict[str, Cost | float]:
    hours = HourRange(row.FIRST_HOUR, Hour(row.FIRST_HOUR.index + _HOURS))
    tasks = (_SOURCES + _OTHER_TASKS) * _HOURS
    stage.postgres.create_database("scaling_airflow")
    airflow: LocalAirflow = row._Airflow(
        home=stage.directory / "airflow",
        metadata_url=stage.postgres.url("scaling_airflow"),
        port=free_ports(1)[0],
        task_environment={"BENCHMARK_SOURCES": str(_SOURCES)},
    )
    with airflow.running(timeout_seconds=_START_SECONDS) as api:
        api.unpause("empty_tasks")
        before = _used(stage)
        started = time.perf_counter()
        row._backfill_seconds(api, "empty_tasks", hours)
        time.sleep(_REST_SECONDS)
        seconds = time.perf_counter() - started
        after = _used(stage)
        time.sleep(seconds)
        rest = _used(stage)
    # What the components use when there is nothing to do is no cost of a task.
    used = {name: 2 * after[name] - before[name] - rest[name] for name in before}
    return {
        "scheduled_task": Cost(worker_seconds=used["scheduler"] / tasks),
        "task_calls": Cost(
            worker_seconds=used["api-server"] / tasks,
            database_seconds=used["PostgreSQL"] / tasks,
        ),
        "task_process": Cost(worker_seconds=used["tasks"] / tasks),
        "task_imports": Cost(worker_seconds=_import_seconds()),
    }


def _used(stage: Stage) -> dict[str, float]:
    """CPU seconds so far by component; ``tasks``: everything that the scheduler has started."""
    used = {"PostgreSQL": stage.cpu_seconds()["PostgreSQL"]}
    for guardian in psutil.Process().children():
        command = guardian.cmdline()
        component = next((name for name in ("scheduler", "api-server") if name in command), None)
        if component is None or "airflow" not in command:
            continue
        (process,) = guardian.children()
        own, below = cpu_seconds(process)
        if component == "scheduler":
            used |= {"scheduler": own, "tasks": below}
        else:
            used[component] = own + below
    return used


def _import_seconds() -> float:
    """CPU seconds to import the pipeline, in a process that has Airflow's tasks already."""
    bare, whole = (
        statistics.median(_cpu_seconds_of_imports(modules) for _ in range(_IMPORTS))
        for modules in ("airflow.sdk", "airflow.sdk, billing_etl.pipeline.collect")
    )
    return max(0.0, whole - bare)


def _cpu_seconds_of_imports(modules: str) -> float:
    command = [sys.executable, "-c", _IMPORT.format(modules)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])
