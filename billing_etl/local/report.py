"""The table at the end of ``make run``: what was collected, billed, delivered and reconciled."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, TypeAlias

from rich.console import Console
from rich.table import Table

from billing_etl.hours import HourRange
from billing_etl.local.tables import print_table
from billing_etl.pipeline.engine import Engine
from billing_etl.store import attention

Row: TypeAlias = dict[str, Any]
_STATE_STYLES: Final = {
    "complete": "green",
    "delivered": "green",
    "clean": "green",
    "repaired": "yellow",
    "partial": "yellow",
    "pending": "yellow",
    "unsealed": "yellow",
    "lost": "red",
    "different": "red",
}


def show_report(engine: Engine, hours: HourRange, console: Console) -> None:
    """Prints one table per question over the hours, and the hour that is running."""
    end = hours.end.end  # the running hour is shown too
    scope = {"start": hours.start.start, "end": end}
    with engine.connect() as connection:
        found = {
            name: attention.rows(connection, f"report/{name}", scope)
            for name in ("collected", "billed", "notable", "delivered", "reconciled")
        }
    console.print()
    _table(console, "Collected, per source and hour", found["collected"], _COLLECTED)
    _table(console, "Billed, per account", found["billed"], _BILLED)
    _table(console, "Notable: why some bytes look unusual", found["notable"], _NOTABLE)
    _table(console, "Delivered to S3, per hour", found["delivered"], _DELIVERED)
    _table(console, "Reconciled, per check", found["reconciled"], _RECONCILED)


def is_clean(engine: Engine, hours: HourRange) -> bool:
    """Whether every check of every hour was made and none differs."""
    scope = {"start": hours.start.start, "end": hours.end.start}
    with engine.connect() as connection:
        checks = attention.rows(connection, "report/reconciled", scope)
    return bool(checks) and all(
        check["different"] == 0 and check["hours"] == len(hours) for check in checks
    )


# --- columns ---------------------------------------------------------------------------------

Cell: TypeAlias = Callable[[Row], str]


def _text(name: str) -> Cell:
    return lambda row: "" if row[name] is None else str(row[name])


def _count(name: str) -> Cell:
    return lambda row: f"{row[name] or 0:,}"


def _bytes(name: str) -> Cell:
    def cell(row: Row) -> str:
        value = Decimal(row[name] or 0)
        for unit in ("B", "kB", "MB", "GB", "TB"):
            if value < 1000 or unit == "TB":
                return f"{value:.0f} {unit}" if unit == "B" else f"{value:.2f} {unit}"
            value /= 1000
        raise AssertionError("unreachable")

    return cell


def _money(name: str) -> Cell:
    return lambda row: f"{Decimal(row[name] or 0):,.6f}"


def _hour(name: str) -> Cell:
    def cell(row: Row) -> str:
        value: datetime | None = row[name]
        return "" if value is None else value.astimezone(UTC).strftime("%m-%d %H:%MZ")

    return cell


def _state(name: str) -> Cell:
    return lambda row: f"[{_STATE_STYLES.get(row[name], 'default')}]{row[name]}[/]"


_COLLECTED: Final[Mapping[str, Cell]] = {
    "source": _text("source_id"),
    "hour": _hour("hour"),
    "state": _state("state"),
    "snapshots": lambda row: f"{row['snapshots']} of {row['expected_snapshots']}",
    "missing min": _count("missing_minutes"),
    "samples": _count("samples"),
    "used": _count("used"),
    "baselines": _count("baselines"),
    "duplicates": _count("duplicates"),
    "quarantined": _count("quarantined"),
    "bytes": _bytes("total_bytes"),
}
_BILLED: Final[Mapping[str, Cell]] = {
    "account": _text("account_uuid"),
    "used": _bytes("total_bytes"),
    "included": _bytes("included_bytes"),
    "rated": _bytes("rated_bytes"),
    "price per byte": _text("unit_prices"),
    "multipliers": _text("multipliers"),
    "amount": _money("amount"),
    "balance": _money("balance"),
    "why": _text("why"),
}
_NOTABLE: Final[Mapping[str, Cell]] = {
    "hour": _hour("hour"),
    "source": _text("source_id"),
    "what": _text("what"),
    "cases": _count("cases"),
    "bytes": _bytes("total_bytes"),
    "meaning": _text("meaning"),
}
_DELIVERED: Final[Mapping[str, Cell]] = {
    "hour": _hour("hour"),
    "event type": _text("event_type"),
    "state": _state("state"),
    "objects": _count("batches"),
    "events": _count("events"),
    "size": _bytes("bytes"),
    "pending": _count("pending"),
}
_RECONCILED: Final[Mapping[str, Cell]] = {
    "check": _text("check_name"),
    "hours": _count("hours"),
    "result": lambda row: _state("status")(row),
    "clean": _count("clean"),
    "repaired": _count("repaired"),
    "different": _count("different"),
    "skipped": _count("skipped"),
}


def _table(console: Console, title: str, rows: list[Row], columns: Mapping[str, Cell]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    for name in columns:
        is_left = name in {"source", "account", "what", "meaning", "why", "check", "event type"}
        table.add_column(name, justify="left" if is_left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(cell(row) for cell in columns.values()))
    if rows:
        print_table(console, table)
    else:
        console.print(f"[bold]{title}[/bold]: nothing")
