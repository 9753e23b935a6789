"""The six checks over the last 72 hours, as the hourly run makes them, and over larger hours.

``billing-etl reconcile`` in a process of its own, from its start to its end: exporters are asked,
directories listed and every fact summed, and nothing differs. How the hours came to be collected,
delivered and stored is not measured.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import psutil

from benchmarks.checks import count_is
from benchmarks.measures import Goal, Measure, Size, at_most
from benchmarks.scaling.services import object_store
from benchmarks.stage import PROJECT, Stage, Worker, environment
from benchmarks.worlds import Fleet
from billing_etl.hours import Hour, HourRange, parse_hour

FIRST: Final = parse_hour("2025-04-08T00")
# Two inbounds of each, in every minute of the hour: 20,040 and 300,000 facts.
_ACCOUNTS: Final = 167
_MANY_ACCOUNTS: Final = 2500
_CHECKS: Final = 6
_GOAL_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Scale:
    accounts: int
    hours: int
    many_accounts: int
    many_hours: int
    repetitions: int
    scaled: str = ""


_SCALES: Final[dict[Size, _Scale]] = {
    "full": _Scale(_ACCOUNTS, 72, _MANY_ACCOUNTS, 2, 3),
    "quick": _Scale(_ACCOUNTS, 12, _MANY_ACCOUNTS, 1, 1, "12 hours, and 1 large one"),
    "tiny": _Scale(3, 2, 3, 1, 1, "3 accounts, 2 hours, and 1 large one"),
}


def measure(stage: Stage, size: Size) -> list[Measure]:
    scale = _SCALES[size]
    measures = []
    for events in (50, 5000):
        measures += _measure(
            stage, scale, scale.accounts, scale.hours, events, at_most(_GOAL_SECONDS)
        )
        stage.clear()
    for events in (50, 5000):
        measures += _measure(stage, scale, scale.many_accounts, scale.many_hours, events, None)
        stage.clear()
    return measures


def _measure(
    stage: Stage, scale: _Scale, accounts: int, count: int, max_events: int, goal: Goal | None
) -> list[Measure]:
    hours = HourRange(FIRST, Hour(FIRST.index + count))
    fleet = Fleet(stage.worlds, f"reconcile-{accounts}-{max_events}", range(accounts))
    fleet.serve(list(hours))
    sources = [stage.source(fleet)]
    with object_store(stage) as (settings, keys), stage.database() as url:
        variables = environment(url, sources) | settings | keys
        variables |= {
            "BILLING_S3_MAX_EVENTS": str(max_events),
            # A place of its own: what another measure stored would be foreign here.
            "BILLING_S3_PREFIX": fleet.name,
        }
        with Worker(variables) as worker:
            worker.ask([fleet.name], list(hours))
        _run(variables, "export", hours)
        runs = []
        for _ in range(scale.repetitions):
            stage.settle()
            runs.append(_reconcile(variables, hours))
        deep = _reconcile(variables, hours, "--deep")
    facts = fleet.expected.facts // count
    each = [run.seconds / count for run in runs]
    name = f"{count} hours of {facts:,} facts, {max_events:,} events per object"
    note = (
        f"{1000 * min(each):.0f} ms an hour, at most {runs[-1].peak_bytes / 1e6:.0f} MB; "
        f"with --deep {deep.seconds:.0f} s"
    )
    return [
        Measure(
            f"reconcile {name}",
            "s",
            [run.seconds for run in runs],
            goal=goal,
            note=note,
            scaled=scale.scaled,
            details={"seconds_per_hour": each, "deep_seconds": deep.seconds, "facts": facts},
        )
    ]


@dataclass(frozen=True, slots=True)
class _Reconciled:
    seconds: float
    peak_bytes: int


def _reconcile(variables: Mapping[str, str], hours: HourRange, *options: str) -> _Reconciled:
    started = time.perf_counter()
    answer, peak_bytes = _run(variables, "reconcile", hours, *options)
    seconds = time.perf_counter() - started
    checks = [check["status"] for check in answer["checks"]]
    count_is("clean checks", _CHECKS * len(hours), checks.count("clean"))
    return _Reconciled(seconds, peak_bytes)


def _run(
    variables: Mapping[str, str], command: str, hours: HourRange, *options: str
) -> tuple[dict[str, list[dict[str, str]]], int]:
    """Runs a command as a person would; gives its document, and the most memory it had."""
    arguments = ["--from", str(hours.start), "--to", str(hours.end), "--json", *options]
    process = psutil.Popen(
        [sys.executable, "-m", "billing_etl", command, *arguments],
        env=dict(variables),
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )
    peak_bytes = 0
    while process.poll() is None and process.stdout is not None:
        try:
            out, _ = process.communicate(timeout=0.5)
            break
        except subprocess.TimeoutExpired:
            peak_bytes = max(peak_bytes, process.memory_info().rss)
    if process.returncode != 0:
        raise RuntimeError(f"billing-etl {command}: expected exit code 0, got {process.returncode}")
    return json.loads(out), peak_bytes
