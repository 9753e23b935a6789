"""Seals hours and sends what was sealed (delivery contract).

Sealing decides and stores every byte in one transaction; sending only repeats what is stored.
A crash anywhere is therefore healed by the next run: the same bytes go to the same key.
"""

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Literal, TypeAlias

from billing_etl.batches import (
    DEFAULT_PATH_TEMPLATE,
    Batch,
    Event,
    ManifestEntry,
    ObjectKeys,
    compress,
    cut,
    decompress,
    digest_of_ids,
    manifest,
)
from billing_etl.delivery import (
    EVENTS_CONTENT_TYPE,
    MANIFEST_CONTENT_TYPE,
    ObjectStore,
    configured_bucket,
    object_store_from,
)
from billing_etl.errors import BillingError, MismatchError
from billing_etl.events import BillingEvent, Envelope, FactChange
from billing_etl.hours import Hour, HourRange
from billing_etl.pipeline.engine import Engine
from billing_etl.settings import Settings
from billing_etl.store import deliveries
from billing_etl.store.database import Connection
from billing_etl.store.deliveries import BatchKind, Meter, NewBatch, PendingBatch

Outcome: TypeAlias = Literal["off", "open", "nothing_new", "sealed", "sent"]

_log = logging.getLogger(__name__)
_CONTENT_TYPES: dict[BatchKind, str] = {
    "events": EVENTS_CONTENT_TYPE,
    "manifest": MANIFEST_CONTENT_TYPE,
}


@dataclass(frozen=True, slots=True)
class DeliverResult:
    """What became of one hour and event type.

    Attributes:
        outcome: ``off``: switched off, nothing sealed or sent; ``open``: too early to seal;
            ``sealed``: sealed now and delivered; ``sent``: sealed by an earlier run, delivered
            now; ``nothing_new``: everything had been delivered before.
        reason: why events are pending, empty when none are.
        batches, events, bytes: delivered by this call, manifests not counted.
        pending: events that wait, sealed or not.
    """

    hour: Hour
    event_type: str
    outcome: Outcome
    reason: str = ""
    batches: int = 0
    events: int = 0
    bytes: int = 0
    pending: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {
            "hour": str(self.hour),
            "event_type": self.event_type,
            "outcome": self.outcome,
            "reason": self.reason,
            "batches": self.batches,
            "events": self.events,
            "bytes": self.bytes,
            "pending": self.pending,
        }


@dataclass(frozen=True, slots=True)
class _Delivery:
    """What sealing and sending share during one run; ``bucket`` is for new batches."""

    settings: Settings
    connection: Connection
    objects: ObjectStore
    pool: ThreadPoolExecutor
    bucket: str
    run_id: int
    now: datetime
    checked_buckets: set[str] = field(default_factory=set)

    def check(self, buckets: Iterable[str]) -> None:
        for bucket in set(buckets) - self.checked_buckets:
            self.objects.check_bucket(bucket)
            self.checked_buckets.add(bucket)


def deliver_hours(
    engine: Engine, hours: HourRange, *, now: datetime | None = None
) -> list[DeliverResult]:
    """Seals what is ready in the range, oldest hour first, and sends everything pending in it.

    Args:
        now: the wall clock that BILLING_SEAL_GRACE is measured by.

    Raises:
        MismatchError: a key holds other content; the other hours were delivered all the same.
        BillingError: the bucket or role is wrong, or the store or database is away; what was
            sealed stays pending.
    """
    settings = engine.settings
    results: list[DeliverResult] = []
    mismatches: list[MismatchError] = []
    with engine.run("export", hours) as run, engine.connect() as connection:
        connection.autocommit = True  # transactions are opened where they are meant
        meters = deliveries.meters(connection)
        if not settings.s3_enabled:
            reason = "BILLING_S3_ENABLED is off"
            results = [_off(connection, hour, meter, reason) for hour in hours for meter in meters]
            run.counts = _counts(results)
            return results
        with ThreadPoolExecutor(settings.s3_concurrency, "deliver") as pool:
            delivery = _Delivery(
                settings,
                connection,
                object_store_from(settings),
                pool,
                configured_bucket(settings),
                run.run_id,
                now or datetime.now(UTC),
            )
            delivery.check({delivery.bucket})
            for hour in hours:
                for meter in meters:
                    try:
                        results.append(_deliver(delivery, hour, meter))
                    except MismatchError as error:
                        _log.error("%s", error)
                        mismatches.append(error)
        run.counts = _counts(results)
        if mismatches:
            more = f" (and {len(mismatches) - 1} more hours)" if len(mismatches) > 1 else ""
            raise MismatchError(f"{mismatches[0]}{more}")
    return results


def pending_hours(engine: Engine, before: Hour) -> list[Hour]:
    """Hours that end at or before the start of ``before`` with something to seal or to send.

    None while S3 or every event type is switched off: nothing could be done about them.
    """
    if not engine.settings.s3_enabled:
        return []
    with engine.connect() as connection:
        meters = [
            meter for meter in deliveries.meters(connection) if is_exported(engine.settings, meter)
        ]
        return deliveries.pending_hours(connection, before, meters)


def waits_for(
    engine: Engine, hours: HourRange, *, delivery: bool, now: datetime | None = None
) -> str:
    """What the hours still wait for: collecting, and with ``delivery`` also sealing and sending.

    Empty when there is nothing to wait for.
    """
    now = now or datetime.now(UTC)
    with engine.connect() as connection:
        reasons = [what_waits(connection, engine.settings, hour, now) for hour in hours]
    if delivery and not any(reasons):
        undelivered = set(pending_hours(engine, hours.end)) & set(hours)
        reasons += [f"{hour} is not delivered yet" for hour in sorted(undelivered)]
    return "; ".join(reason for reason in reasons if reason)


def _counts(results: list[DeliverResult]) -> dict[str, int]:
    return {
        "batches": sum(result.batches for result in results),
        "events": sum(result.events for result in results),
        "bytes": sum(result.bytes for result in results),
        "pending": sum(result.pending for result in results),
    }


def is_exported(settings: Settings, meter: Meter) -> bool:
    """Whether events of the meter are to be sealed and sent at all ("Switch")."""
    return settings.event_types is None or meter.event_type in settings.event_types


def _off(connection: Connection, hour: Hour, meter: Meter, reason: str) -> DeliverResult:
    pending = deliveries.count_changes(connection, hour, meter) + sum(
        batch.events for batch in deliveries.pending_batches(connection, hour, meter)
    )
    return DeliverResult(hour, meter.event_type, "off", reason, pending=pending)


def _deliver(delivery: _Delivery, hour: Hour, meter: Meter) -> DeliverResult:
    connection = delivery.connection
    if not is_exported(delivery.settings, meter):
        reason = f"{meter.event_type} is not in BILLING_EVENT_TYPES"
        return _off(connection, hour, meter, reason)
    with connection.transaction():
        waits_for = what_waits(connection, delivery.settings, hour, delivery.now)
        is_sealed = not waits_for and _seal(delivery, hour, meter)
    sent = list(_send(delivery, hour, meter))
    outcome: Outcome
    if waits_for:
        outcome = "open"
    elif is_sealed:
        outcome = "sealed"
    else:
        outcome = "sent" if sent else "nothing_new"
    batches = [batch for batch in sent if batch.kind == "events"]
    return DeliverResult(
        hour,
        meter.event_type,
        outcome,
        reason=waits_for,
        batches=len(batches),
        events=sum(batch.events for batch in batches),
        bytes=sum(batch.size_bytes for batch in batches),
        pending=deliveries.count_changes(connection, hour, meter) if waits_for else 0,
    )


# --- sealing ---------------------------------------------------------------------------------


def object_keys(settings: Settings) -> ObjectKeys:
    """Where objects lie, as configured.

    Raises:
        UsageError: the path template does not give every hour and batch a place of its own.
    """
    return ObjectKeys(settings.s3_prefix, settings.s3_path_template or DEFAULT_PATH_TEMPLATE)


def what_waits(connection: Connection, settings: Settings, hour: Hour, now: datetime) -> str:
    """What an hour still waits for before it is sealed; empty when it is ready ("When")."""
    if now < hour.end:
        return "the hour has not ended"
    if not deliveries.was_collected(connection, hour):
        return "no source has collected the hour"
    grace_end = hour.end + settings.seal_grace
    open_ids = _open_sources(connection, settings, hour)
    if open_ids and now < grace_end:
        return f"open until {grace_end:%Y-%m-%dT%H:%M:%SZ}: {', '.join(open_ids)}"
    return ""


def _open_sources(connection: Connection, settings: Settings, hour: Hour) -> list[str]:
    enabled = [source.source_id for source in settings.enabled_sources]
    return deliveries.open_sources(connection, hour, enabled)


def _seal(delivery: _Delivery, hour: Hour, meter: Meter) -> bool:
    """Stores the next sealing of a ready hour, to the last byte; False when nothing is new.

    The first sealing is stored even when the hour has no events: its manifest then says "none",
    which no manifest would leave unsaid. Later ones need a changed fact, or a source that was
    open at the last sealing and is not any more.
    """
    connection, settings = delivery.connection, delivery.settings
    state = deliveries.lock(connection, hour, meter)
    open_ids = _open_sources(connection, settings, hour)
    envelope = BillingEvent(settings.product)
    changes = deliveries.changes(connection, hour, meter, state.sealings, settings.default_region)
    events = (_event(envelope, change) for change in changes)
    batches = cut(events, settings.s3_max_events, settings.s3_max_bytes)
    sealing = state.sealings + 1
    keys = object_keys(settings)
    ordinal = 0
    for ordinal, batch in enumerate(batches, start=1):
        key = keys.batch(meter.event_type, hour, sealing, ordinal, batch)
        _store(delivery, hour, meter, sealing, ordinal, "events", key, batch)
    source_closed = not set(state.open_sources) <= set(open_ids)
    if ordinal == 0 and state.sealings > 0 and not source_closed:
        return False
    entries = [
        ManifestEntry(**entry) for entry in deliveries.sealed_batches(connection, hour, meter)
    ]
    document = manifest(meter.event_type, hour, sealing, entries, open_ids)
    key = keys.manifest(meter.event_type, hour, sealing)
    whole = Batch(document, 0, 0, hour.first_minute, digest_of_ids(()))
    _store(delivery, hour, meter, sealing, 0, "manifest", key, whole)
    deliveries.close_sealing(connection, hour, meter, sealing, open_ids)
    _log.info("%s %s: sealing %d, %d batches", hour, meter.event_type, sealing, ordinal)
    return True


def _event(envelope: Envelope, change: FactChange) -> Event:
    return Event(envelope.line(change), change.event_id(), change.usage, change.minute)


def _store(
    delivery: _Delivery,
    hour: Hour,
    meter: Meter,
    sealing: int,
    ordinal: int,
    kind: BatchKind,
    key: str,
    batch: Batch,
) -> None:
    deliveries.insert_batch(
        delivery.connection,
        NewBatch(
            hour=hour.index,
            meter_id=meter.meter_id,
            sealing=sealing,
            ordinal=ordinal,
            kind=kind,
            bucket=delivery.bucket,
            object_key=key,
            events=batch.events,
            net_quantity=batch.usage,
            size_bytes=len(batch.payload),
            sha256=batch.sha256,
            event_ids_sha256=batch.event_ids_sha256,
            payload=compress(batch.payload),
            run_id=delivery.run_id,
        ),
    )


# --- sending ---------------------------------------------------------------------------------


def _send(delivery: _Delivery, hour: Hour, meter: Meter) -> Iterator[PendingBatch]:
    """Sends what is pending, sealing by sealing, a manifest only after all of its batches."""
    pending = deliveries.pending_batches(delivery.connection, hour, meter)
    delivery.check(batch.bucket for batch in pending)
    for _, group in groupby(pending, key=lambda batch: (batch.sealing, batch.kind)):
        yield from _send_together(delivery, list(group))


def _send_together(delivery: _Delivery, batches: list[PendingBatch]) -> list[PendingBatch]:
    """Holds as many payloads as there are threads; marks each object as it is confirmed.

    After a failure nothing more is started, what is under way is waited for and marked, and the
    first error is raised.
    """
    under_way: dict[Future[None], PendingBatch] = {}
    errors: list[BaseException] = []
    for batch in batches:
        if len(under_way) >= delivery.settings.s3_concurrency:
            errors += _settle(delivery, under_way)
        if errors:
            break
        stored = deliveries.compressed_payload(delivery.connection, batch.batch_id)
        under_way[delivery.pool.submit(_put, delivery.objects, batch, stored)] = batch
    while under_way:
        errors += _settle(delivery, under_way)
    if errors:
        raise errors[0]
    return batches


def _put(objects: ObjectStore, batch: PendingBatch, stored: bytes) -> None:
    payload = decompress(stored)
    objects.put(batch.bucket, batch.object_key, payload, _CONTENT_TYPES[batch.kind])


def _settle(
    delivery: _Delivery, under_way: dict[Future[None], PendingBatch]
) -> list[BaseException]:
    """Records the end of at least one put and gives the errors."""
    errors: list[BaseException] = []
    done, _ = wait(under_way, return_when=FIRST_COMPLETED)
    for future in done:
        batch = under_way.pop(future)
        error = future.exception()
        if error is None:
            deliveries.mark_delivered(delivery.connection, batch.batch_id)
        else:
            known = str(error) if isinstance(error, BillingError) else type(error).__name__
            deliveries.mark_failed(delivery.connection, batch.batch_id, known)
            errors.append(error)
    return errors
