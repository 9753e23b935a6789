"""A backfill through the real scheduler, against as many tasks that do nothing.

The empty tasks run in two halves, one before and one after, so that neither side has the warmer
or the quieter machine.
"""

import shutil
import time
from dataclasses import dataclass
from typing import Final

from benchmarks.checks import WrongResultError, check
from benchmarks.measures import Measure, Size, at_most
from benchmarks.stage import PROJECT, Stage, settings_of
from benchmarks.worlds import Expected, Fleet
from billing_etl.hours import Hour, HourRange, parse_hour
from billing_etl.local.airflow import LocalAirflow
from billing_etl.local.airflow_api import AirflowApi
from billing_etl.local.processes import free_ports

FIRST_HOUR: Final = parse_hour("2025-04-08T00")
_ACCOUNTS: Final = 17  # x 2 inbounds x 60 minutes: 2,040 samples
_PATIENCE_SECONDS: Final = 4 * 3600.0
# list_sources, rate and report, beside one collect per source.
_OTHER_TASKS: Final = 3


@dataclass(frozen=True, slots=True)
class _Scale:
    sources: int
    hours: int
    scaled: str = ""


_SCALES: Final[dict[Size, _Scale]] = {
    "full": _Scale(50, 24),
    "quick": _Scale(4, 3, "4 sources x 3 hours"),
    "tiny": _Scale(2, 2, "2 sources x 2 hours"),
}


class _Airflow(LocalAirflow):
    """The project's Airflow with one more DAG; hours run only where a backfill asks for them."""

    __slots__ = ()

    def environment(self) -> dict[str, str]:
        dags = self.home / "dags"
        if not dags.exists():
            shutil.copytree(PROJECT / "dags", dags, ignore=shutil.ignore_patterns("__pycache__"))
            shutil.copy(PROJECT / "benchmarks" / "empty_tasks.py", dags)
        return LocalAirflow.environment(self) | {
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            # Unpausing a DAG would start its newest hour beside the backfill.
            "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
        }


def measure(stage: Stage, size: Size) -> list[Measure]:
    scale = _SCALES[size]
    hours = HourRange(FIRST_HOUR, Hour(FIRST_HOUR.index + scale.hours))
    fleets = [
        Fleet(
            stage.worlds,
            f"airflow-{number:02}",
            range(number * _ACCOUNTS, (number + 1) * _ACCOUNTS),
        )
        for number in range(scale.sources)
    ]
    for fleet in fleets:
        fleet.serve(list(hours))
    half = Hour(FIRST_HOUR.index + scale.hours // 2)
    stage.postgres.create_database("benchmark_airflow")
    with stage.database() as url:
        airflow = _Airflow(
            home=stage.directory / "airflow",
            metadata_url=stage.postgres.url("benchmark_airflow"),
            port=free_ports(1)[0],
            task_environment=settings_of(url, [stage.source(fleet) for fleet in fleets])
            | {"BENCHMARK_SOURCES": str(scale.sources)},
        )
        with airflow.running(timeout_seconds=300) as api:
            for dag_id in ("empty_tasks", "collect_and_rate"):
                api.unpause(dag_id)
            before = _backfill_seconds(api, "empty_tasks", HourRange(hours.start, half))
            ours = _backfill_seconds(api, "collect_and_rate", hours)
            after = _backfill_seconds(api, "empty_tasks", HourRange(half, hours.end))
        check(url, Expected.sum(fleet.expected for fleet in fleets))
    tasks = (scale.sources + _OTHER_TASKS) * scale.hours
    empty = before + after
    return [
        Measure(
            f"{tasks:,} empty Airflow tasks",
            "s",
            [empty],
            note=f"halves: {before:.0f} s and {after:.0f} s",
            scaled=scale.scaled,
        ),
        Measure(
            f"backfill, {scale.sources} sources x {scale.hours} hours / empty",
            "s",
            [ours],
            ratios=[ours / empty],
            ratio_goal=at_most(1.5),
            note=f"{tasks:,} tasks; {(ours - empty) / tasks:.2f} s more per task",
            scaled=scale.scaled,
        ),
    ]


def _backfill_seconds(api: AirflowApi, dag_id: str, hours: HourRange) -> float:
    started = time.perf_counter()
    api.backfill(dag_id, hours)
    runs = api.wait_hours(dag_id, hours, _PATIENCE_SECONDS)
    seconds = time.perf_counter() - started
    failed = [run.run_id for run in runs if run.state != "success"]
    if failed:
        raise WrongResultError(f"{dag_id}: expected every run to succeed, got {failed} failed")
    return seconds
