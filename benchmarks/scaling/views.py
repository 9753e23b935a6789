"""What ``python -m benchmarks.scaling`` prints and ``docs/scaling.md`` shows."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Final

from benchmarks.scaling.check import Compared
from benchmarks.scaling.costs import Cost, UnitCosts
from benchmarks.scaling.limits import limits
from benchmarks.scaling.load import EVENTS_PER_OBJECT, USUAL_EVENTS_PER_OBJECT, HourCosts, Load
from benchmarks.scaling.scenarios import scenarios
from benchmarks.scaling.simulation import RECONCILED_HOURS, simulate
from benchmarks.scaling.storage import kept
from benchmarks.scaling.tables import Table, duration, percent, size

# Days that are kept, and of them in the database.
_KEPT: Final = ((1, 1), (365, 365), (365, 7))

Kinds = Mapping[str, Load]


def unit_costs(costs: UnitCosts) -> Table:
    """Of every cost what is not zero, in milliseconds; two units side by side."""
    rows = []
    for each in fields(UnitCosts):
        cost = getattr(costs, each.name)
        if isinstance(cost, Cost):
            seconds = (cost.worker_seconds, cost.database_seconds, cost.wait_seconds)
            wal = size(cost.wal_bytes) if cost.wal_bytes >= 1 else ""
            rows.append([f"`{each.name}`", *map(_milliseconds, seconds), wal])
    headings = ["unit", "worker ms", "database ms", "wait ms", "WAL"]
    if len(rows) % 2:
        rows.append([""] * len(headings))
    half = len(rows) // 2
    paired = [left + right for left, right in zip(rows[:half], rows[half:], strict=True)]
    return Table("costs", "CPU and waits per unit", headings * 2, paired)


def unit_numbers(costs: UnitCosts) -> str:
    """What is no cost but a number, in one line."""
    return ", ".join(
        f"`{each.name}` {getattr(costs, each.name):,.4g}"
        for each in fields(UnitCosts)
        if not isinstance(getattr(costs, each.name), Cost)
    )


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g}" if seconds >= 1e-8 else ""


def limit_table(costs: UnitCosts, kinds: Kinds) -> Table:
    """Sources until a part is full; the soonest for the first kind stands first."""
    of_kinds = [{each.part: each for each in limits(costs, load)} for load in kinds.values()]
    rows = [
        [part, limit.why, *(f"{of_kind[part].sources:,.0f}" for of_kind in of_kinds)]
        for part, limit in of_kinds[0].items()
    ]
    title = "Arithmetic: sources until a part is full, as the code is today"
    return Table("limits", title, ["part", "why", *(f"{name} sources" for name in kinds)], rows)


def capacity_table(costs: UnitCosts, kinds: Kinds, cores: int) -> Table:
    """What these cores can collect and rate, when they share the work without a gap."""
    rows = []
    for kind, load in kinds.items():
        alone = replace(load, sources=1)
        cost = HourCosts.of(costs, alone).source_hour
        hours = cores * 3600 / (cost.worker_seconds + cost.database_seconds)
        one = kept(costs, alone, days=1, hot_days=1)
        rows.append(
            [
                kind,
                f"{load.samples:,}",
                f"{load.facts:,.0f}",
                _milliseconds(cost.worker_seconds),
                _milliseconds(cost.database_seconds),
                f"{hours:,.0f}",
                f"{hours * load.samples / 3600:,.0f}",
                size(one.hot_bytes),
                size(24 * cost.wal_bytes),
            ]
        )
    headings = ["source", "samples an hour", "facts an hour", "worker ms", "database ms"]
    headings += ["source-hours an hour", "samples/s", "stored a day", "WAL a day"]
    return Table("capacity", f"Arithmetic: {cores} cores that only collect", headings, rows)


def hour_table(costs: UnitCosts, kinds: Kinds) -> Table:
    """What an hour asks of everybody, however it is spread."""
    of_kinds = [_steps(costs, load) for load in kinds.values()]
    rows = [
        [name, *(cell for steps in of_kinds for cell in _asked(*steps[name]))]
        for name in of_kinds[0]
    ]
    headings = ["step"]
    for kind in kinds:
        headings += [f"{kind}: worker cores", "database cores", "WAL", "one process"]
    return Table("hour", f"Arithmetic: an hour of {_sources(kinds)} sources", headings, rows)


def _steps(costs: UnitCosts, load: Load) -> dict[str, tuple[Cost, int]]:
    """The cost of each step per source, and of how many sources."""
    hour = HourCosts.of(costs, load)
    usual = HourCosts.of(costs, load, events_per_object=USUAL_EVENTS_PER_OBJECT)
    task = hour.started + costs.scheduled_task + costs.task_calls
    steps = {
        "start a task per source": task,
        "`list_sources`": hour.planned,
        "collect and rate": hour.source_hour,
        f"seal and send, {EVENTS_PER_OBJECT} events an object": hour.sealed,
        f"the same, {USUAL_EVENTS_PER_OBJECT:,} events an object": usual.sealed,
        "reconcile the hour": hour.checked,
        "reconcile 72 hours": hour.checked * RECONCILED_HOURS,
    }
    return {name: (cost, load.sources) for name, cost in steps.items()}


def _asked(cost: Cost, sources: int) -> list[str]:
    return [
        f"{cost.worker_seconds * sources / 3600:,.2f}",
        f"{cost.database_seconds * sources / 3600:,.2f}",
        size(cost.wal_bytes * sources) if cost.wal_bytes >= 1 else "",
        duration(cost.alone_seconds * sources),
    ]


def scenario_table(costs: UnitCosts, kinds: Kinds) -> Table:
    rows = []
    for together in zip(*(scenarios(load) for load in kinds.values()), strict=True):
        row = [together[0].name]
        for scenario in together:
            outcome = simulate(costs, scenario.load, scenario.house)
            share = percent(outcome.busy[outcome.bottleneck])
            left = percent(outcome.rated_later / scenario.load.sources)
            row += [duration(outcome.billed_seconds), f"{outcome.bottleneck} {share}", left]
        rows.append(row)
    headings = ["scenario"]
    for kind in kinds:
        headings += [f"{kind}: billed", "most busy", "left to rate"]
    return Table("scenarios", f"Simulated: an hour of {_sources(kinds)} sources", headings, rows)


def storage_table(costs: UnitCosts, kinds: Kinds) -> Table:
    rows = []
    for kind, load in kinds.items():
        for days, hot_days in _KEPT:
            of = kept(costs, load, days, hot_days)
            rows.append(
                [
                    f"{kind}: {days} days, {hot_days} in the database",
                    f"{of.facts / 1e9:,.3g}",
                    size(of.hot_bytes),
                    size(of.cold_bytes) if of.cold_bytes else "",
                    duration(of.backup_seconds),
                ]
            )
    headings = ["kept", "billion facts", "database", "columns", "read once"]
    return Table("storage", f"Arithmetic: what {_sources(kinds)} sources leave", headings, rows)


def compared_table(results: Sequence[Compared], name: str) -> Table:
    headings = ["run", "predicted s", "measured s", "ratio"]
    headings += ["CPU predicted s", "CPU measured s", "CPU ratio", "others"]
    rows = [
        [
            each.what,
            f"{each.predicted_seconds:.1f}",
            f"{each.measured_seconds:.1f}",
            f"{each.ratio:.2f}",
            f"{each.predicted_cpu_seconds:.1f}",
            f"{each.measured_cpu_seconds:.1f}",
            f"{each.cpu_ratio:.2f}",
            percent(each.others),
        ]
        for each in results
    ]
    return Table(name, "Predicted against measured", headings, rows)


def _sources(kinds: Kinds) -> str:
    return " or ".join(dict.fromkeys(f"{load.sources:,}" for load in kinds.values()))
