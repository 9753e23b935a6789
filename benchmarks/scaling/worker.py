"""A pipeline process for measuring, told by lines of JSON what to do.

``python -m benchmarks.scaling.worker SETTINGS`` reads its settings from a JSON file: ten thousand
sources do not fit into one variable of an environment. Each line on standard input names a step;
each line on standard output says what it did and used. It ends with its standard input.
"""

import gc
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.scaling.observer import Observer
from billing_etl.hours import HourRange, parse_hour
from billing_etl.pipeline.collect import collect_hour, open_hours
from billing_etl.pipeline.deliver import deliver_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.rate import ensure_price, rate_hours
from billing_etl.pipeline.reconcile import reconcile_hours
from billing_etl.settings import Settings

Command = dict[str, Any]
Counts = dict[str, int]


def collect(engine: Engine, command: Command) -> Counts:
    """As many tasks as ``tasks`` says, one after the other, each with a connection of its own."""
    hours = list(_hours(command))
    sources = command["sources"]
    tasks = command["tasks"]
    counts = {"source_hours": 0, "samples": 0, "facts": 0, "rated": 0}
    for task in range(tasks):
        with engine.run("collect", "benchmark") as run:
            for source_id in sources[task::tasks]:
                for hour in hours:
                    done = collect_hour(engine, engine.settings.source(source_id), hour, run.run_id)
                    counts["source_hours"] += 1
                    counts["samples"] += done.samples
                    counts["facts"] += done.facts_written
                    counts["rated"] += done.account_hours_rated
    return counts


def plan(engine: Engine, command: Command) -> Counts:
    """Looks for open hours as the DAG's first task does."""
    before = _hours(command).start
    found = sum(len(open_hours(engine, source, before)) for source in engine.settings.sources)
    return {"sources": len(engine.settings.sources), "open_hours": found}


def plan_connected(engine: Engine, command: Command) -> Counts:
    """The same questions without a new connection for each."""
    with engine.run("plan"):
        return plan(engine, command)


def rate(engine: Engine, command: Command) -> Counts:
    done = rate_hours(engine, _hours(command))
    return {"account_hours": done.account_hours, "facts_changed": done.facts_changed}


def deliver(engine: Engine, command: Command) -> Counts:
    hours = _hours(command)
    done = deliver_hours(engine, hours, now=hours.end.start + timedelta(days=1))
    return {
        "events": sum(each.events for each in done),
        "objects": sum(each.batches + 1 for each in done),
    }


def reconcile(engine: Engine, command: Command) -> Counts:
    result = reconcile_hours(engine, _hours(command), repair=False, now=datetime.now(UTC))
    different = [check for check in result.checks if check.status == "different"]
    if different:
        raise RuntimeError(f"expected clean checks, got {different[0]}")
    return {"checks": len(result.checks)}


STEPS: Final[dict[str, Callable[[Engine, Command], Counts]]] = {
    each.__name__: each for each in (collect, plan, plan_connected, rate, deliver, reconcile)
}


def _hours(command: Command) -> HourRange:
    return HourRange(parse_hour(command["from"]), parse_hour(command["to"]))


class _Requests:
    """Counts HTTP requests of this process."""

    def __init__(self) -> None:
        self.made = 0
        send = httpx.HTTPTransport.handle_request

        def counted(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
            self.made += 1
            return send(transport, request)

        httpx.HTTPTransport.handle_request = counted  # type: ignore[assignment, method-assign]


def main() -> None:
    engine = Engine(Settings.from_environment(json.loads(Path(sys.argv[1]).read_text("utf-8"))))
    observer, requests = Observer(), _Requests()
    observer.start()
    ensure_price(engine)
    gc.freeze()  # as the commands and tasks of the pipeline do
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        observer.clear()
        requests.made = 0
        started, started_cpu = time.perf_counter(), time.process_time()
        counts = STEPS[command["step"]](engine, command)
        used = {
            "seconds": time.perf_counter() - started,
            "worker_seconds": time.process_time() - started_cpu,
            "requests": requests.made,
        }
        print(json.dumps({"counts": counts, **used, **observer.as_dict()}), flush=True)


if __name__ == "__main__":
    main()
