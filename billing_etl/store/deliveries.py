"""What was sealed for delivery and what became of it (delivery contract, "Sealing")."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from billing_etl.errors import TerminalError
from billing_etl.events import FactChange
from billing_etl.hours import Hour
from billing_etl.masking import without_emails
from billing_etl.store.database import Connection, one_row, sql, take_lock

BatchKind: TypeAlias = Literal["events", "manifest", "parquet"]

# Rows a server-side cursor fetches at once: bounds memory whatever the hour holds.
_ROWS_PER_FETCH: Final = 5_000
# Of tables that are new, a day's facts every day, the planner knows nothing and takes them for
# small: each fact was compared with each series.
_NO_NESTED_LOOPS: Final = b"set local enable_nestloop = off"
_NESTED_LOOPS: Final = b"set local enable_nestloop to default"


@dataclass(frozen=True, slots=True)
class Meter:
    """What is counted; its name is the event type."""

    meter_id: int
    event_type: str
    resource_type: str


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """How often an hour was sealed, and the sources that were open at the last sealing."""

    sealings: int
    open_sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewBatch:
    """One object as it is sealed. ``payload`` is zstd-compressed; sizes and digests are not.

    ``first_minute`` is that of its oldest event, None without events.
    """

    hour: int
    meter_id: int
    sealing: int
    ordinal: int
    kind: BatchKind
    envelope: str
    bucket: str
    object_key: str
    events: int
    net_quantity: int
    first_minute: int | None
    size_bytes: int
    sha256: bytes
    event_ids_sha256: bytes
    payload: bytes = field(repr=False)
    run_id: int


@dataclass(frozen=True, slots=True)
class PendingBatch:
    """A sealed object that is not delivered yet. Its ``payload`` is compressed."""

    batch_id: int
    sealing: int
    kind: BatchKind
    ordinal: int
    bucket: str
    object_key: str
    events: int
    size_bytes: int
    sha256: bytes
    payload: bytes = field(repr=False)


def meters(connection: Connection) -> list[Meter]:
    return [Meter(*row) for row in connection.execute(sql("deliveries/meters").encode())]


def open_sources(connection: Connection, hour: Hour, source_ids: Sequence[str]) -> list[str]:
    """Those of the enabled sources whose hour may still bring facts."""
    rows = connection.execute(
        sql("deliveries/open_sources").encode(),
        {"hour": hour.index, "source_ids": list(source_ids)},
    )
    return [str(source_id) for (source_id,) in rows]


def was_collected(connection: Connection, hour: Hour) -> bool:
    """Whether any source has collected the hour."""
    row = one_row(connection, sql("deliveries/was_collected"), {"hour": hour.index})
    return bool(row[0])


def lock(connection: Connection, hour: Hour, meter: Meter) -> DeliveryState:
    """Holds the hour against collecting and other sealings until the transaction ends."""
    parameters = {"hour": hour.index, "meter_id": meter.meter_id}
    connection.execute(sql("deliveries/ensure_delivery").encode(), parameters)
    locked = take_lock(
        connection,
        sql("deliveries/lock_delivery"),
        parameters,
        who=f"export, hour {hour}",
        waits_for="a run that collects this hour, or seals it",
    )
    ((sealings, open_ids),) = locked
    return DeliveryState(sealings, tuple(open_ids))


def changes(
    connection: Connection, hour: Hour, meter: Meter, sealings: int, default_region: str
) -> Iterator[FactChange]:
    """What the next sealing has to say, ordered by account, minute, series; read as it is used.

    To be used in a transaction.
    """
    parameters = _minutes(hour, meter) | {"sealings": sealings, "default_region": default_region}
    with connection.cursor(name="changes", binary=True) as cursor:
        cursor.itersize = _ROWS_PER_FETCH
        connection.execute(_NO_NESTED_LOOPS)
        cursor.execute(sql("deliveries/changes").encode(), parameters)
        connection.execute(_NESTED_LOOPS)
        for row in cursor:
            yield FactChange(*row)


def count_changes(connection: Connection, hour: Hour, meter: Meter) -> int:
    """How many events the next sealing would make."""
    with connection.transaction():
        connection.execute(_NO_NESTED_LOOPS)
        row = one_row(connection, sql("deliveries/count_changes"), _minutes(hour, meter))
        connection.execute(_NESTED_LOOPS)
    return int(row[0])


def insert_batches(connection: Connection, batches: Iterable[NewBatch]) -> None:
    """All of them in one round trip."""
    parameters = [{name: getattr(batch, name) for name in NewBatch.__slots__} for batch in batches]
    with connection.cursor() as cursor:
        cursor.executemany(sql("deliveries/insert_batch").encode(), parameters)


@dataclass(frozen=True, slots=True)
class SealedBatches:
    """Batches of a kind and hour so far, with the names that a manifest gives their values.

    Read from the database as they are used, and again each time; to be used in a transaction.
    """

    connection: Connection
    hour: Hour
    meter: Meter
    kind: BatchKind

    def __iter__(self) -> Iterator[dict[str, Any]]:
        names = ("bucket", "key", "sealing", "events", "usage", "bytes", "sha256", "envelope")
        with self.connection.cursor(name="sealed_batches", binary=True) as cursor:
            cursor.itersize = _ROWS_PER_FETCH
            cursor.execute(
                sql("deliveries/manifest_entries").encode(),
                {"hour": self.hour.index, "meter_id": self.meter.meter_id, "kind": self.kind},
            )
            for row in cursor:
                yield dict(zip(names, row, strict=True))


def close_sealing(
    connection: Connection,
    hour: Hour,
    meter: Meter,
    sealing: int,
    events: int,
    open_ids: Sequence[str],
) -> None:
    """Counts the sealing and its events; the facts themselves are the sealed state from now on."""
    minutes = _minutes(hour, meter)
    connection.execute(
        sql("deliveries/close_sealing").encode(),
        {
            "hour": hour.index,
            "meter_id": meter.meter_id,
            "sealing": sealing,
            "events": events,
            "open_sources": list(open_ids),
        },
    )
    connection.execute(sql("deliveries/zero_vanished_states").encode(), minutes)
    connection.execute(sql("deliveries/forget_sealed_states").encode(), minutes)
    connection.execute(sql("deliveries/keep_sealed_digest").encode(), minutes)


def pending_group(
    connection: Connection,
    hour: Hour,
    meter: Meter,
    after: PendingBatch | None,
    most: int,
    enough_bytes: int,
) -> list[PendingBatch]:
    """The next objects to send, in their order: by sealing, the manifest after its batches.

    Args:
        after: the last one of the group before.
        most: bounds their number.
        enough_bytes: once their compressed payloads reach it no further object is read.
    """
    with connection.cursor(binary=True) as cursor:
        cursor.execute(
            sql("deliveries/pending_group").encode(),
            {
                "hour": hour.index,
                "meter_id": meter.meter_id,
                "sealing": 0 if after is None else after.sealing,
                "kind": "" if after is None else after.kind,
                "ordinal": 0 if after is None else after.ordinal,
                "objects": most,
                "bytes": enough_bytes,
            },
        )
        return [PendingBatch(*row) for row in cursor]


def count_pending_events(connection: Connection, hour: Hour, meter: Meter) -> int:
    """How many sealed events were not delivered yet."""
    row = one_row(
        connection,
        sql("deliveries/pending_events"),
        {"hour": hour.index, "meter_id": meter.meter_id},
    )
    return int(row[0])


def waiting_buckets(connection: Connection, hour: Hour, meter: Meter) -> list[str]:
    """The buckets that sealed objects of the hour wait for."""
    rows = connection.execute(
        sql("deliveries/waiting_buckets").encode(),
        {"hour": hour.index, "meter_id": meter.meter_id},
    )
    return [str(bucket) for (bucket,) in rows]


def move_batches(
    connection: Connection, hour: Hour, meter: Meter, gone: str, bucket: str
) -> set[str]:
    """Gives what waits for one bucket to another one; the keys, which stay as they are."""
    rows = connection.execute(
        sql("deliveries/move_batches").encode(),
        {"hour": hour.index, "meter_id": meter.meter_id, "gone": gone, "bucket": bucket},
    )
    return {str(key) for (key,) in rows}


def waiting_manifests(connection: Connection, hour: Hour, meter: Meter) -> list[tuple[int, bytes]]:
    """Batch id and compressed payload of the manifests that were not sent yet."""
    rows = connection.execute(
        sql("deliveries/waiting_manifests").encode(),
        {"hour": hour.index, "meter_id": meter.meter_id},
    )
    return [(batch_id, bytes(payload)) for batch_id, payload in rows]


def rewrite_manifest(
    connection: Connection, batch_id: int, size_bytes: int, sha256: bytes, payload: bytes
) -> None:
    """Another document, compressed, for a manifest that was not sent yet."""
    connection.execute(
        sql("deliveries/rewrite_manifest").encode(),
        {"batch_id": batch_id, "size_bytes": size_bytes, "sha256": sha256, "payload": payload},
    )


def compressed_payload(connection: Connection, batch_id: int) -> bytes:
    """The sealed payload of an object.

    Raises:
        TerminalError: it was dropped, see ``pipeline.retention``.
    """
    (payload,) = one_row(connection, sql("deliveries/payload"), {"batch_id": batch_id})
    if payload is None:
        raise TerminalError(
            f"sealed object {batch_id}: cannot be sent again, its payload was dropped after "
            "BILLING_PAYLOAD_RETENTION; restore the object from a copy that has its SHA-256"
        )
    return bytes(payload)


def mark_delivered(connection: Connection, etags: Mapping[int, str]) -> None:
    """Records objects that the store confirmed, by batch id, with the ETags it answered.

    Commits at once, without waiting for the disk: a lost mark only means one more put.
    """
    with connection.transaction():
        connection.execute("set local synchronous_commit = off")
        connection.execute(
            sql("deliveries/mark_delivered").encode(),
            {"batch_ids": list(etags), "etags": list(etags.values())},
        )


def mark_failed(connection: Connection, batch_id: int, error: str) -> None:
    with connection.transaction():
        connection.execute(
            sql("deliveries/mark_failed").encode(),
            {"batch_id": batch_id, "error": without_emails(error)},
        )


def pending_hours(connection: Connection, before: Hour, meters_wanted: list[Meter]) -> list[Hour]:
    """Hours before ``before`` with something to seal or to send, oldest first."""
    rows = connection.execute(
        sql("deliveries/pending_hours").encode(),
        {"before": before.index, "meter_ids": [meter.meter_id for meter in meters_wanted]},
    )
    return [Hour(index) for (index,) in rows]


def _minutes(hour: Hour, meter: Meter) -> dict[str, Any]:
    return {
        "hour": hour.index,
        "meter_id": meter.meter_id,
        "first_minute": hour.first_minute,
        "end_minute": hour.next.first_minute,
    }
