"""What a reconciliation statement says: numbers and digests per hour, and what is open."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from billing_etl.hours import Hour, HourRange
from billing_etl.pipeline.statement import settled
from billing_etl.settings import Settings
from billing_etl.statement import (
    APPEND_ONLY,
    DELIVERY,
    INPUTS,
    Digest,
    Number,
    added,
    chain,
    hour_digest,
    read,
    root_of,
    stated,
    total,
)
from billing_etl.store import archives, ratings, statements
from billing_etl.store.archives import ArchivedHour
from billing_etl.store.database import Connection

# Of the canonical form of inputs and of the document: another form gets another number.
FORM: Final = 2

# Read as it was when the hour was archived: its facts are gone, and rows beside them may be.
_ARCHIVED: Final = frozenset({"facts", "rates", "closings", "node_instants", "quarantine"})

_AMOUNTS: Final = ("included_quantity", "rated_quantity", "amount")
_COUNTED: Final = (
    "snapshots", "samples", "used", "duplicates", "baselines", "quarantined",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Span:
    """A UTC day, or the billing period that starts in a month (R3)."""

    kind: Literal["day", "month"]
    label: str
    hours: HourRange

    def __str__(self) -> str:
        return f"{self.kind} {self.label}"


@dataclass(slots=True)
class Made:
    """A statement.

    Attributes:
        document: all that it says, ready for JSON.
        inputs: digests by hour and table.
        first: by hour and append-only table, the digest over the rows that a former one signed.
        numbers: by hour.
        amounts: by hour, one row per price version.
        reasons: why it is not to be signed: not balanced, not final.
    """

    document: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, dict[str, Digest]] = field(default_factory=dict)
    first: dict[str, dict[str, str]] = field(default_factory=dict)
    numbers: dict[str, dict[str, Number]] = field(default_factory=dict)
    amounts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    @property
    def is_balanced(self) -> bool:
        return bool(self.document["balanced"])

    @property
    def is_final(self) -> bool:
        return bool(self.document["final"])


def read_span(
    connection: Connection,
    settings: Settings,
    span: Span,
    moment: datetime,
    now: datetime,
    signed_rows: Mapping[str, Mapping[str, int]],
    advance: Callable[[], None],
) -> Made:
    """Reads everything a statement says, within a transaction that sees one moment.

    Args:
        connection: after ``begin_snapshot``.
        settings: say why something is pending.
        span: which hours.
        moment: the moment that is seen.
        now: the wall clock.
        signed_rows: by hour and append-only table, rows that a former statement signed.
        advance: called once an hour.
    """
    hours = span.hours
    made = Made()
    collected = [
        row
        for row in statements.source_hours(connection, hours)
        if row["state"] != "missing" or Hour(row["hour"]).end <= now
    ]
    objects = statements.objects(connection, hours)
    prices: dict[str, list[Number]] = defaultdict(lambda: [0, 0, 0])
    light = _light_numbers(connection, hours, collected, objects)
    archived = archives.hours(connection, hours)
    for hour in hours:
        label = str(hour)
        kept = archived.get(hour.index)
        if kept is None:
            made.numbers[label] = light[hour.index] | statements.hour_numbers(connection, hour)
            made.amounts[label] = [
                row | {name: stated(row[name]) for name in _AMOUNTS}
                for row in statements.amounts(connection, hour)
            ]
        else:
            made.numbers[label] = {name: read(value) for name, value in kept.numbers.items()}
            made.amounts[label] = kept.amounts
        for row in made.amounts[label]:
            values = [read(row[name]) for name in _AMOUNTS]
            known = prices[row["price_version"]]
            prices[row["price_version"]] = [total(pair) for pair in zip(known, values, strict=True)]
        made.inputs[label], made.first[label] = _digests(
            connection, hour, signed_rows.get(label, {}), kept
        )
        advance()
    numbers = added(made.numbers.values())
    differences = [
        {"hour": label, **step.as_dict(), "text": str(step)}
        for label, of_hour in made.numbers.items()
        for step in chain(of_hour)
        if not step.is_balanced
    ]
    pending = settled.pending(connection, settings, made.numbers, objects, now)
    notable = _with_dropped(statements.notable(connection, hours), archived.values(), light)
    checks = statements.checks(connection, hours)
    active = {row["hour"] for row in collected} | {
        hour.index for hour in hours if any(made.numbers[str(hour)].values())
    }
    active = {index for index in active if Hour(index).end <= now}
    opened = [
        *settled.unended(hours, now),
        *settled.open_source_hours(collected),
        *settled.unrated(numbers),
        *settled.unsent(pending),
        *settled.unchecked(checks, active, statements.last_changes(connection, hours)),
        *settled.findings(notable),
    ]
    made.reasons = [f"{row['hour']} {row['text']}" for row in differences] + opened
    made.document = {
        "form": FORM,
        "span": span.kind,
        "label": span.label,
        "from": str(hours.start),
        "to": str(hours.end),
        "made_at": moment.isoformat(),
        "root": root_of(made.inputs),
        "balanced": not differences,
        "final": not opened,
        "open": opened,
        "differences": differences,
        "sources": _sources(collected),
        "incomplete": _incomplete(collected),
        "archived": _archived(archived.values()),
        "chain": [step.as_dict() for step in chain(numbers)],
        "usage": _usage(numbers),
        "prices": [
            {
                "price_version": name,
                "included_bytes": stated(included),
                "rated_bytes": stated(rated),
                "amount": str(stated(amount)),
            }
            for name, (included, rated, amount) in sorted(prices.items())
        ],
        "ledger": _ledger(
            statements.ledger(connection, hours, ratings.anchor_day(connection, settings))
        ),
        "delivery": [step.as_dict() for step in chain(numbers, DELIVERY)],
        "pending": pending,
        "payloads_dropped": sum(row["payloads_dropped"] for row in objects),
        "checks": _checks(checks),
        "notable": [
            {key: row[key] for key in ("what", "kind", "cases")} | {"bytes": row["quantity"]}
            for row in notable
        ],
        "by_hour": {
            label: {
                "digest": hour_digest(made.inputs[label]),
                "numbers": {name: stated(value) for name, value in sorted(of_hour.items())},
            }
            for label, of_hour in made.numbers.items()
        },
    }
    return made


def _digests(
    connection: Connection, hour: Hour, signed_rows: Mapping[str, int], kept: ArchivedHour | None
) -> tuple[dict[str, Digest], dict[str, str]]:
    """Digests of every table; of an archived hour's facts, and what goes with them, as kept."""
    digests: dict[str, Digest] = {}
    first: dict[str, str] = {}
    for table in INPUTS:
        if kept is not None and table in _ARCHIVED:
            digests[table] = Digest(**kept.inputs[table])
            continue
        digests[table], sha256 = statements.digest(
            connection, table, hour, signed_rows.get(table, 0)
        )
        if table in APPEND_ONLY:
            first[table] = sha256
    return digests, first


def _archived(hours: Iterable[ArchivedHour]) -> list[dict[str, Any]]:
    """Where facts of the span lie, and of how many of its hours."""
    places = Counter(hour.place for hour in hours)
    return [{"place": place, "hours": count} for place, count in sorted(places.items())]


def _with_dropped(
    notable: list[dict[str, Any]],
    archived: Iterable[ArchivedHour],
    here: Mapping[int, Mapping[str, Number]],
) -> list[dict[str, Any]]:
    """Counts bad samples that went after their hours were archived, too; their reasons went."""
    dropped = sum(
        int(read(hour.numbers.get("stored_quarantined", 0)))
        - int(here[hour.hour].get("stored_quarantined", 0))
        for hour in archived
    )
    if not dropped:
        return notable
    row = {"what": "quarantine", "kind": "dropped since archived", "cases": dropped, "quantity": 0}
    at = sum(each["what"] >= row["what"] for each in notable)  # they go from reset to gap
    return [*notable[:at], row, *notable[at:]]


# --- numbers -----------------------------------------------------------------------------------


def _light_numbers(
    connection: Connection,
    hours: HourRange,
    collected: Iterable[Mapping[str, Any]],
    objects: Iterable[Mapping[str, Any]],
) -> dict[int, dict[str, Number]]:
    """What is read for all hours at once, by hour."""
    numbers: dict[int, dict[str, Number]] = {hour.index: {} for hour in hours}

    def add(hour: int, name: str, value: Number) -> None:
        numbers[hour][name] = total((numbers[hour].get(name, 0), value))

    for row in collected:
        for name in _COUNTED:
            add(row["hour"], name, row[name])
    for row in statements.snapshots(connection, hours):
        for name in ("stored_snapshots", "stored_samples", "stored_quarantined"):
            add(row["hour"], name, row[name])
    for row in objects:
        state = "delivered" if row["is_delivered"] else "undelivered"
        add(row["hour"], f"{state}_objects", row["objects"])
        add(row["hour"], f"{state}_bytes", row["bytes"])
        add(row["hour"], f"{state}_events", row["events"])
        add(row["hour"], "event_quantity", row["net_quantity"])
    return numbers


def _usage(numbers: Mapping[str, Number]) -> dict[str, Any]:
    names = {
        "facts": "facts",
        "series": "series",
        "account_hours": "account_hours",
        "uplink_bytes": "fact_uplink",
        "downlink_bytes": "fact_downlink",
        "included_bytes": "account_included",
        "rated_bytes": "ledger_rated",
        "unrated_bytes": "unrated_quantity",
        "amount": "account_amount",
    }
    usage: dict[str, Any] = {key: stated(numbers.get(name, 0)) for key, name in names.items()}
    usage["total_bytes"] = usage["uplink_bytes"] + usage["downlink_bytes"]
    usage["amount"] = str(usage["amount"])
    return usage


def _sources(collected: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Source-hours and samples per source."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for row in collected:
        of_source = sums[row["source_id"]]
        of_source["hours"] += 1
        of_source["open" if row["state"] in settled.OPEN_STATES else row["state"]] += 1
        for name in ("missing_minutes", *_COUNTED):
            of_source[name] += row[name]
    names = ("hours", "complete", "lost", "open", "missing_minutes", *_COUNTED)
    return [
        {"source_id": source_id, **{name: of_source[name] for name in names}}
        for source_id, of_source in sums.items()
    ]


def _incomplete(collected: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Source-hours that are not complete; those of one state in a row are one entry."""
    entries: list[dict[str, Any]] = []
    found = (row for row in collected if row["state"] != "complete")
    for row in sorted(found, key=lambda row: (row["source_id"], row["hour"])):
        entry = {
            "source_id": row["source_id"],
            "state": row["state"],
            "from": str(Hour(row["hour"])),
            "to": str(Hour(row["hour"]).next),
            "hours": 1,
            "missing_minutes": row["missing_minutes"],
        }
        last = entries[-1] if entries else None
        names = ("source_id", "state")
        if last and last["to"] == entry["from"] and all(last[n] == entry[n] for n in names):
            last["to"] = entry["to"]
            last["hours"] += 1
            last["missing_minutes"] += entry["missing_minutes"]
        else:
            entries.append(entry)
    return entries


def _ledger(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Entries by what they are; adjustments of closed periods are posted later (R7)."""
    entries = [
        {
            "entry_type": row["entry_type"],
            "posted": "in a later period" if row["is_later"] else "in its own period",
            "entries": row["entries"],
            "rated_bytes": row["rated_quantity"],
            "amount": row["amount"],
        }
        for row in rows
    ]
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in entries:
        known = merged.setdefault((entry["entry_type"], entry["posted"]), entry)
        if known is not entry:
            for name in ("entries", "rated_bytes", "amount"):
                known[name] = total((known[name], entry[name]))
    return [entry | {"amount": str(stated(entry["amount"]))} for _, entry in sorted(merged.items())]


def _checks(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        counts[row["check_name"]][row["status"]] += 1
    names = ("clean", "repaired", "different", "skipped")
    return [
        {"check_name": name, **{status: counts[name][status] for status in names}}
        for name in counts
    ]
