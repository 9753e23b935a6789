"""Both sides of every check of reconciliation, read from what is stored."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from billing_etl.hours import Hour
from billing_etl.rating import Rate
from billing_etl.store.database import Connection, array_literal, one_row, sql
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
    """An account's facts of an hour, and its account-hour.

    Attributes:
        uplink, used_before: of the account-hour; None: not kept.
        is_due: not rated, or stale.
        is_stale: `rate` takes it up; what is due without that is damaged.
    """

    account_key: int
    account_uuid: str
    fact_quantity: Decimal
    fact_uplink: Decimal
    fact_included: Decimal
    bad_splits: int
    facts_without_rate: int
    quantity: Decimal
    uplink: Decimal | None
    included: Decimal
    used_before: int | None
    is_due: bool
    is_stale: bool


class PeriodUse(NamedTuple):
    """What an account has used in a billing period.

    Attributes:
        included: of its quota, in all of the period.
        before: usage before the hour that was asked about.
        waits: whether an hour before that one is still to be rated.
    """

    included: int
    before: int
    waits: bool


class RateUse(NamedTuple):
    """How many facts of a series in an hour were rated with a rate."""

    series_id: int
    rate_id: int
    facts: int


class AccountLedger(NamedTuple):
    """An account's rated facts of an hour, and the net of its ledger entries."""

    account_uuid: str
    fact_rated_quantity: Decimal
    ledger_rated_quantity: Decimal
    fact_amount: Decimal
    account_hour_amount: Decimal
    ledger_amount: Decimal


class SealedState(NamedTuple):
    """The state in which a fact was last sealed; quantity is uplink + downlink.

    ``sent_ids``: see ``MarkedFact``.
    """

    source_id: str
    env: str
    node_id: str
    account_uuid: str
    inbound_tag: str
    minute: int
    revision: int
    quantity: int
    sent_ids: list[str] | None


class MarkedFact(NamedTuple):
    """A fact with what says whether, and as what, it was sealed; quantity is uplink + downlink.

    ``sent_ids``: of an erased account, the id of the fact and those of its events from revision 1
    on, as they were made of the uuid that it had; None: what is not here is made of the names.
    """

    series_id: int
    minute: int
    quantity: int
    revision: int
    sealing: int
    sent_ids: list[str] | None
    names: tuple[str, str, str, str, str]


class SealedTotals(NamedTuple):
    """What the facts of an hour say was sealed, and what was.

    Attributes:
        fact_events, fact_quantity, fact_digest: of the sealed state of the facts, as they are now.
        events, quantity, sealings: of the sealed batches; sealings: the newest one of theirs.
        counted_sealings: as counted with the hour.
        digest: of the facts, as it was kept at the last sealing; None: it was not.
    """

    fact_events: int
    fact_quantity: Decimal
    fact_digest: bytes
    events: int
    quantity: Decimal
    sealings: int
    counted_sealings: int
    digest: bytes | None


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """A sealed object without its payload.

    Attributes:
        etag: what the store answered when it was sent; None: not known.
        has_payload: whether the sealed payload is still kept.
    """

    batch_id: int
    sealing: int
    kind: BatchKind
    envelope: str
    bucket: str
    object_key: str
    events: int
    usage: int
    size_bytes: int
    sha256: bytes
    event_ids_sha256: bytes
    is_delivered: bool
    etag: str | None
    has_payload: bool

    @property
    def place(self) -> str:
        return f"s3://{self.bucket}/{self.object_key}"


class StoredInstant(NamedTuple):
    """A collected snapshot: what it held, by count and hash."""

    samples: int
    content_hash: bytes


class ClosingSample(NamedTuple):
    """First and last sample of a series in an hour."""

    first_ns: int
    first_uplink: int
    first_downlink: int
    last_ns: int
    last_uplink: int
    last_downlink: int


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


def period_use(
    connection: Connection, hour: Hour, meter: Meter, period_start: Hour, period_end: Hour
) -> dict[str, PeriodUse]:
    """Of every account that the hour knows, its use of the billing period (R3, R4)."""
    parameters = _of(hour, meter) | {
        "period_start": period_start.index,
        "period_end": period_end.index,
    }
    rows = _rows(connection, "period_use", parameters)
    return {
        str(account): PeriodUse(int(included), int(before), waits)
        for account, included, before, waits in rows
    }


def facts_by_rate(connection: Connection, hour: Hour, meter: Meter) -> list[RateUse]:
    """The rates of an hour's facts whose account-hours are rated and not stale."""
    return [RateUse(*row) for row in _rows(connection, "facts_by_rate", _of(hour, meter))]


def rates_by_minute(
    connection: Connection, hour: Hour, series_ids: Sequence[int]
) -> list[tuple[int, int, int]]:
    """Series, minute and rate of the rated facts of some series."""
    parameters = _minutes(hour) | {"series_ids": array_literal(series_ids)}
    return list(_rows(connection, "rates_by_minute", parameters))


def rates(connection: Connection, rate_ids: Sequence[int]) -> dict[int, Rate]:
    """What rates consist of, by their id."""
    rows = _rows(connection, "rates", {"rate_ids": array_literal(rate_ids)})
    return {int(rate_id): Rate(*parts) for rate_id, *parts in rows}


def restore_account_hours(
    connection: Connection, hour: Hour, meter: Meter, account_keys: Sequence[int]
) -> None:
    """Makes account-hours what their facts sum up to, and stale."""
    _rows(
        connection,
        "restore_account_hours",
        _of(hour, meter) | {"account_keys": array_literal(sorted(account_keys))},
    )


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


def sealed_totals(connection: Connection, hour: Hour, meter: Meter) -> SealedTotals:
    """Both sides of what was sealed of an hour, without a look into any body."""
    row = one_row(connection, sql("reconciliation/sealed_state"), _of(hour, meter))
    return SealedTotals(*row)


def marked_facts(connection: Connection, hour: Hour, meter: Meter) -> list[MarkedFact]:
    """Every fact of an hour, sealed or not."""
    rows = _rows(connection, "marked_facts", _of(hour, meter))
    return [MarkedFact(row[0], row[1], row[2], row[3], row[4], row[5], row[6:]) for row in rows]


def restore_marks(
    connection: Connection,
    hour: Hour,
    meter: Meter,
    sealings: int,
    changed: Sequence[MarkedFact],
    as_sealed: Sequence[MarkedFact],
) -> None:
    """Writes marks of facts, and how often their hour was sealed.

    Args:
        sealings: how often the hour was sealed.
        changed: facts whose marks are to be written.
        as_sealed: facts that are as they were sealed last; no other sealed state of theirs is kept.
    """
    _rows(
        connection,
        "restore_marks",
        _minutes(hour)
        | {
            "series_ids": array_literal(fact.series_id for fact in changed),
            "minutes": array_literal(fact.minute for fact in changed),
            "revisions": array_literal(fact.revision for fact in changed),
            "sealings": array_literal(fact.sealing for fact in changed),
        },
    )
    _rows(
        connection,
        "drop_sealed_facts",
        {
            "series_ids": array_literal(fact.series_id for fact in as_sealed),
            "minutes": array_literal(fact.minute for fact in as_sealed),
        },
    )
    _rows(connection, "restore_sealings", _of(hour, meter) | {"sealings": sealings})


def sealed_batches(connection: Connection, hour: Hour, meter: Meter) -> list[SealedBatch]:
    """Every sealed object of an hour, in sealing order."""
    parameters = _of(hour, meter) | {"batch_id": None}
    return [SealedBatch(*row) for row in _rows(connection, "sealed_batches", parameters)]


def damaged_payloads(
    connection: Connection, hour: Hour, meter: Meter
) -> dict[int, tuple[str | None, str]]:
    """Batches whose sealed payload is not what was stored: its SHA-256 then and now, in hex."""
    rows = _rows(connection, "damaged_payloads", _of(hour, meter))
    return {int(batch_id): (stored, found) for batch_id, stored, found in rows}


def restore_payload(connection: Connection, batch_id: int, payload: bytes) -> None:
    """Stores the packed payload of a sealed object again."""
    _rows(connection, "restore_payload", {"batch_id": batch_id, "payload": payload})


def sealed_elsewhere(connection: Connection, bucket: str, keys: Sequence[str]) -> set[str]:
    """Those of the keys that any hour's sealed objects have."""
    rows = _rows(connection, "sealed_elsewhere", {"bucket": bucket, "keys": list(keys)})
    return {str(key) for (key,) in rows}


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


def closings(
    connection: Connection, source_id: str, hour: Hour
) -> dict[tuple[str, ...], ClosingSample]:
    """By environment, node, account and inbound tag."""
    parameters = {"source_id": source_id, "hour": hour.index}
    rows = _rows(connection, "closings", parameters)
    return {tuple(row[:4]): ClosingSample(*row[4:]) for row in rows}


def first_hour(connection: Connection, source_id: str) -> Hour | None:
    rows = list(_rows(connection, "first_hour", {"source_id": source_id}))
    return Hour(rows[0][0]) if rows else None


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
