"""Both sides of every check, read from what is stored, and the results of checks."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from billing_etl.hours import Hour
from billing_etl.reconciliation import CheckResult, Measure
from billing_etl.store.database import Connection, one_row, sql
from billing_etl.store.deliveries import BatchKind, Meter


class SeriesSums(NamedTuple):
    """Bytes of a series in an hour as its counters and as its facts say; None: not there."""

    source_id: str
    env: str
    node_id: str
    account_uuid: str
    inbound_tag: str
    counted_uplink: Decimal | None
    counted_downlink: Decimal | None
    fact_uplink: Decimal | None
    fact_downlink: Decimal | None


class AccountRating(NamedTuple):
    """An account's facts of an hour, and its account-hour. ``is_due``: not rated, or stale."""

    account_key: int
    account_uuid: str
    fact_quantity: Decimal
    fact_included: Decimal
    bad_splits: int
    facts_without_rate: int
    quantity: Decimal
    included: Decimal
    is_due: bool


class AccountLedger(NamedTuple):
    """An account's rated facts of an hour, and the net of its ledger entries."""

    account_uuid: str
    fact_rated_quantity: Decimal
    ledger_rated_quantity: Decimal
    fact_amount: Decimal
    account_hour_amount: Decimal
    ledger_amount: Decimal


class SealedState(NamedTuple):
    """The state in which a fact was last sealed; quantity is uplink + downlink."""

    source_id: str
    env: str
    node_id: str
    account_uuid: str
    inbound_tag: str
    minute: int
    revision: int
    quantity: int


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """A sealed object without its payload."""

    batch_id: int
    sealing: int
    kind: BatchKind
    bucket: str
    object_key: str
    events: int
    usage: int
    size_bytes: int
    sha256: bytes
    event_ids_sha256: bytes
    is_delivered: bool
    has_payload: bool


class StoredInstant(NamedTuple):
    """A collected snapshot: what it held, by count and hash."""

    samples: int
    content_hash: bytes


class CollectedHour(NamedTuple):
    """A collected source-hour as a whole (C12)."""

    snapshots: int
    samples: int
    content_hash: bytes


def counters_and_facts(connection: Connection, hour: Hour) -> list[SeriesSums]:
    rows = _rows(connection, "counters_and_facts", _minutes(hour))
    return [SeriesSums(*row) for row in rows]


def facts_and_ratings(connection: Connection, hour: Hour, meter: Meter) -> list[AccountRating]:
    return [AccountRating(*row) for row in _rows(connection, "facts_and_ratings", _of(hour, meter))]


def used_quota(
    connection: Connection, hour: Hour, meter: Meter, period_start: Hour, period_end: Hour
) -> dict[str, int]:
    """Included quantity used in the period, of every account that the hour knows."""
    parameters = _of(hour, meter) | {
        "period_start": period_start.index,
        "period_end": period_end.index,
    }
    rows = _rows(connection, "used_quota", parameters)
    return {str(account): int(used) for account, used in rows}


def ratings_and_ledger(connection: Connection, hour: Hour, meter: Meter) -> list[AccountLedger]:
    rows = _rows(connection, "ratings_and_ledger", _of(hour, meter))
    return [AccountLedger(*row) for row in rows]


def sealed_states(connection: Connection, hour: Hour, meter: Meter) -> Iterator[SealedState]:
    """Read as it is used, within the caller's transaction."""
    with connection.cursor(name="sealed_states") as cursor:
        cursor.itersize = 5_000
        cursor.execute(sql("reconciliation/sealed_states").encode(), _of(hour, meter))
        for row in cursor:
            yield SealedState(*row)


def sealed_batches(connection: Connection, hour: Hour, meter: Meter) -> list[SealedBatch]:
    return [SealedBatch(*row) for row in _rows(connection, "sealed_batches", _of(hour, meter))]


def sealed_batch(connection: Connection, batch_id: int) -> SealedBatch:
    row = one_row(connection, sql("reconciliation/sealed_batch"), {"batch_id": batch_id})
    return SealedBatch(*row)


def sealings(connection: Connection, hour: Hour, meter: Meter) -> int:
    """How often the hour was sealed."""
    rows = list(_rows(connection, "sealings", _of(hour, meter)))
    return int(rows[0][0]) if rows else 0


def collected_hour(connection: Connection, source_id: str, hour: Hour) -> CollectedHour | None:
    parameters = {"source_id": source_id, "hour": hour.index}
    rows = [
        CollectedHour(snapshots, samples, bytes(content_hash))
        for snapshots, samples, content_hash in _rows(connection, "collected_hour", parameters)
    ]
    return rows[0] if rows else None


def collected_instants(
    connection: Connection, source_id: str, hour: Hour
) -> dict[tuple[str, str, int], StoredInstant]:
    """By environment, node and instant in nanoseconds."""
    parameters = {"source_id": source_id, "hour": hour.index}
    return {
        (env, node_id, instant_ns): StoredInstant(samples, bytes(content_hash))
        for env, node_id, instant_ns, samples, content_hash in _rows(
            connection, "collected_instants", parameters
        )
    }


def first_hour(connection: Connection, source_id: str) -> Hour | None:
    rows = list(_rows(connection, "first_hour", {"source_id": source_id}))
    return Hour(rows[0][0]) if rows else None


def save(
    connection: Connection,
    hour: Hour,
    result: CheckResult,
    measure: Measure | None,
    run_id: int,
) -> None:
    """Keeps the latest result; a difference opens a finding, a clean result closes it.

    Args:
        measure: the first one that differs, for the finding's numbers.
    """
    with connection.transaction():
        _rows(
            connection,
            "save_result",
            {
                "hour": hour.index,
                "check_name": result.check,
                "expected": result.expected,
                "actual": result.actual,
                "difference": result.difference,
                "status": result.status,
                "repaired": result.repaired,
                "details": Jsonb(result.details),
                "run_id": run_id,
            },
        )
        scope = {"hour": hour.index, "check_name": result.check, "run_id": run_id}
        if result.status == "different":
            numbers = {
                "expected": None if measure is None else measure.expected,
                "actual": None if measure is None else measure.actual,
            }
            message = f"{result.check} {result.hour}: {result.difference}"
            _rows(connection, "open_finding", {**scope, **numbers, "message": message})
        elif result.status != "skipped":
            resolution = result.repaired or "clean when checked again"
            _rows(connection, "close_finding", {**scope, "resolution": resolution})


def _rows(connection: Connection, name: str, parameters: dict[str, Any]) -> Any:
    return connection.execute(sql(f"reconciliation/{name}").encode(), parameters)


def _minutes(hour: Hour) -> dict[str, Any]:
    return {
        "hour": hour.index,
        "first_minute": hour.first_minute,
        "end_minute": hour.next.first_minute,
    }


def _of(hour: Hour, meter: Meter) -> dict[str, Any]:
    return _minutes(hour) | {"meter_id": meter.meter_id}
