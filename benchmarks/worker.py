"""The pipeline in a process of its own, told by lines of JSON what to do.

``python -m benchmarks.worker`` takes its settings from the environment, like any run of the
pipeline. Each line on standard input is a ``collect`` of sources and hours, a ``rate``, or both;
each line on standard output is what that took. It ends with its standard input.
"""

import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from billing_etl.hours import HourRange, parse_hour
from billing_etl.pipeline.collect import collect_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.rate import ensure_price, rate_hours
from billing_etl.settings import Settings


def obey(engine: Engine, command: dict[str, Any]) -> dict[str, Any]:
    """Does what a command says and gives what it took; only that is measured."""
    hours = [parse_hour(hour) for hour in command["hours"]]
    sources = [engine.settings.source(source_id) for source_id in command["collect"]]
    results = []
    started, started_cpu = time.perf_counter(), time.process_time()
    if sources:
        summary = collect_hours(engine, sources, hours)
        if summary.failures:
            raise RuntimeError(f"expected no failed source-hour, got {summary.failures}")
        results = summary.results
    collected = time.perf_counter()
    if command["rate"]:
        rate_hours(engine, HourRange(min(hours), max(hours).next))
    ended = time.perf_counter()
    return {
        "seconds": ended - started,
        "collect_seconds": collected - started,
        "cpu_seconds": time.process_time() - started_cpu,
        "peak_bytes": peak_bytes(),
        "samples": sum(result.samples for result in results),
        "duplicates": sum(result.duplicates for result in results),
        "quarantined": sum(result.quarantined for result in results),
        "facts_written": sum(result.facts_written for result in results),
    }


def peak_bytes() -> int:
    """Peak resident memory of this program; ``ru_maxrss`` would begin with its parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status: expected a line VmHWM, got none")


def main() -> None:
    engine = Engine(Settings.from_environment(os.environ))
    with engine.kept():  # as `billing-etl pipeline` does
        ensure_price(engine)
        gc.freeze()  # as the commands and tasks of the pipeline do
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            print(json.dumps(obey(engine, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
