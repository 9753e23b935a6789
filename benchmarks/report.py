"""The table of a benchmark run, its JSON, and the machine that it ran on."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.measures import Goal, Measure, Size
from benchmarks.stage import PROJECT

RESULTS: Final = PROJECT / "benchmarks" / "results"
_WIDTH: Final = 160  # where no terminal says how wide it is


def machine() -> dict[str, Any]:
    """What a number depends on beside the code."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": _git("rev-parse", "--short", "HEAD") or "unknown",
        "uncommitted_changes": bool(_git("--no-optional-locks", "status", "--porcelain")),
        "load_average_before": os.getloadavg()[0],
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def result(
    measures: Mapping[str, Sequence[Measure]],
    errors: Mapping[str, str],
    size: Size,
    machine_facts: Mapping[str, Any],
    postgres_facts: Mapping[str, str],
    seconds: float,
) -> dict[str, Any]:
    """Everything about a run, as it is stored."""
    return {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "size": size,
        "seconds": round(seconds, 1),
        "machine": dict(machine_facts),
        "postgres": dict(postgres_facts),
        "measures": [
            {"row": row} | measure.as_dict() for row, of in measures.items() for measure in of
        ],
        "errors": dict(errors),
    }


def store(made: Mapping[str, Any], name: str, directory: Path = RESULTS) -> Path:
    path = directory / f"{datetime.now(UTC):%Y-%m-%d-%H%M}-{name}.json"
    path.write_text(json.dumps(made, indent=1) + "\n")
    return path


def show(made: Mapping[str, Any], measures: Sequence[Measure], earlier: Path | None) -> None:
    """Prints the table; with an earlier result, what changed since."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    before = {}
    if earlier is not None:
        before = {m["name"]: m for m in json.loads(earlier.read_text())["measures"]}
    machine_facts, postgres = made["machine"], made["postgres"]
    console.print(
        f"{machine_facts['cores']} cores ({machine_facts['processor']}), load "
        f"{machine_facts['load_average_before']:.1f} before; Python {machine_facts['python']}; "
        f"PostgreSQL {postgres['server_version']} with fsync {postgres['fsync']}, "
        f"synchronous_commit {postgres['synchronous_commit']}, "
        f"full_page_writes {postgres['full_page_writes']}; commit {machine_facts['commit']}"
        f"{' and changes' if machine_facts['uncommitted_changes'] else ''}",
        highlight=False,
    )
    if earlier is not None:
        console.print(f"change: of the median since {earlier.name}", highlight=False)
    console.print("CPU s: seconds of pipeline + PostgreSQL + exporter, per run", highlight=False)
    table = Table()
    for heading in ("measure", "median", "spread", "ratio", "goal", "met", "CPU s"):
        right = heading in {"median", "spread", "ratio"}
        table.add_column(heading, justify="right" if right else "left", no_wrap=right)
    if before:
        table.add_column("change", justify="right")
    table.add_column("note")
    for measure in measures:
        cells = _cells(measure)
        if before:
            cells.insert(-1, _change(measure, before.get(measure.name)))
        table.add_row(*cells)
    console.print(table)
    for row, error in made["errors"].items():
        console.print(f"[red]{row} failed:[/red] {error}", highlight=False)


def _cells(measure: Measure) -> list[str]:
    verdict = {True: "[green]yes[/green]", False: "[red]no[/red]", None: ""}[measure.met]
    scaled = f"scaled: {measure.scaled}" if measure.scaled else ""
    return [
        measure.name,
        f"{_number(measure.median)} {measure.unit}",
        f"{_number(min(measure.values))} - {_number(max(measure.values))}"
        if len(measure.values) > 1
        else "",
        _ratios(measure),
        "; ".join(
            goal
            for goal in (_goal(measure.goal, measure.unit), _goal(measure.ratio_goal, "ratio"))
            if goal
        ),
        verdict,
        " + ".join(f"{seconds:.2f}" for seconds in measure.cpu_seconds.values()),
        "; ".join(part for part in (scaled, measure.note) if part),
    ]


def _ratios(measure: Measure) -> str:
    if measure.ratio is None:
        return ""
    if len(measure.ratios) == 1:
        return f"{measure.ratio:.2f}"
    return f"{measure.ratio:.2f} ({min(measure.ratios):.2f} - {max(measure.ratios):.2f})"


def _goal(goal: Goal | None, unit: str) -> str:
    return "" if goal is None else f"{goal.kind} {_number(goal.bound)} {unit}"


def _change(measure: Measure, before: Mapping[str, Any] | None) -> str:
    """The median against that of the earlier result; only equal work is compared."""
    if before is None or before["scaled"] != measure.scaled or not before["median"]:
        return ""
    return f"{100 * (measure.median / before['median'] - 1):+.0f}%"


def _number(value: float) -> str:
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
