"""Why a statement is not final yet: what is open, unrated, pending, unchecked or different."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from billing_etl.hours import Hour, HourRange, parse_hour
from billing_etl.pipeline.checks import CHECKS
from billing_etl.pipeline.seal import what_waits
from billing_etl.settings import Settings
from billing_etl.statement import Number
from billing_etl.store import deliveries
from billing_etl.store.database import Connection
from billing_etl.store.sources import TRAFFIC_METER_ID

OPEN_STATES: Final = ("partial", "failed", "missing")
_SOUND: Final = frozenset({"clean", "repaired", "skipped"})
_NAMED: Final = 3


def unended(hours: HourRange, now: datetime) -> list[str]:
    last = Hour(hours.end.index - 1)
    return [f"hours have not ended before {hours.end}"] if now < last.end else []


def open_source_hours(collected: Iterable[Mapping[str, Any]]) -> list[str]:
    found = [row for row in collected if row["state"] in OPEN_STATES]
    named = [f"{row['source_id']} {Hour(row['hour'])} {row['state']}" for row in found[:_NAMED]]
    return [f"{len(found)} source-hours are open: {_listed(named, len(found))}"] if found else []


def unrated(numbers: Mapping[str, Number]) -> list[str]:
    count = numbers.get("unrated_account_hours", 0)
    return [f"{count} account-hours are not rated"] if count else []


def pending(
    connection: Connection,
    settings: Settings,
    numbers: Mapping[str, Mapping[str, Number]],
    objects: Iterable[Mapping[str, Any]],
    now: datetime,
) -> list[dict[str, Any]]:
    """What waits, by reason: events not sealed yet, objects sealed and not sent."""
    (meter,) = (m for m in deliveries.meters(connection) if m.meter_id == TRAFFIC_METER_ID)
    found: dict[str, Counter[str]] = defaultdict(Counter)

    def add(reason: str, objects: int, events: Number, quantity: Number) -> None:
        found[reason].update(hours=1, objects=objects, events=int(events), net_usage=int(quantity))

    for label, of_hour in numbers.items():
        if not of_hour["unsealed_events"]:
            continue
        if not settings.s3_enabled:
            reason = "BILLING_S3_ENABLED is off"
        elif not settings.exports(meter.event_type):
            reason = f"{meter.event_type} is not in BILLING_EVENT_TYPES"
        else:
            reason = (
                what_waits(connection, settings, parse_hour(label), now)
                or "due, run billing-etl export"
            )
        add(reason, 0, of_hour["unsealed_events"], of_hour["unsealed_quantity"])
    for row in objects:
        if not row["is_delivered"]:
            reason = row["last_error"] or "sealed, not sent yet"
            add(reason, row["objects"], row["events"], row["net_quantity"])
    return [{"reason": reason, **counts} for reason, counts in found.items()]


def unsent(pending: Iterable[Mapping[str, Any]]) -> list[str]:
    """What waits to be sealed or sent, a line per reason."""
    return [
        f"{row['events']} events, {row['objects']} sealed objects pending: {row['reason']}"
        for row in pending
    ]


def unchecked(
    checks: Iterable[Mapping[str, Any]], active: set[int], changed: Mapping[int, datetime]
) -> list[str]:
    """Hours with something in them that no run of reconciliation found sound since it changed."""
    by_hour: dict[int, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for row in checks:
        by_hour[row["hour"]][row["check_name"]] = row
    wanted = {check.name for check in CHECKS}
    unsound: list[str] = []
    for index in sorted(active):
        results = by_hour[index]
        bad = sorted(name for name, row in results.items() if row["status"] not in _SOUND)
        if bad:
            unsound.append(f"{Hour(index)} {', '.join(bad)} different")
        elif wanted - results.keys():
            unsound.append(f"{Hour(index)} not checked")
        elif index in changed and max(r["checked_at"] for r in results.values()) < changed[index]:
            unsound.append(f"{Hour(index)} changed since it was checked")
    if not unsound:
        return []
    return [
        f"{len(unsound)} hours are not reconciled clean: {_listed(unsound[:_NAMED], len(unsound))}"
    ]


def findings(notable: Iterable[Mapping[str, Any]]) -> list[str]:
    return [
        f"{row['cases']} open findings of {row['kind']}"
        for row in notable
        if row["what"] == "open finding" and row["kind"].startswith("reconciliation")
    ]


def _listed(named: list[str], count: int) -> str:
    return ", ".join(named) + (f" and {count - len(named)} more" if count > len(named) else "")
