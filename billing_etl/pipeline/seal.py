"""Seals an hour: decides and stores every byte that goes out, before any is sent.

Source of the rules: delivery contract, "Sealing", "When" and "Manifest".
"""

import hashlib
import logging
from dataclasses import dataclass
from datetime import datetime

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
    moved,
)
from billing_etl.events import BillingEvent, Envelope, FactChange
from billing_etl.hours import Hour
from billing_etl.settings import Settings
from billing_etl.store import deliveries
from billing_etl.store.database import Connection
from billing_etl.store.deliveries import BatchKind, Meter, NewBatch

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sealing:
    """What the sealings of one run share; ``bucket`` is where their objects are to go."""

    settings: Settings
    connection: Connection
    bucket: str
    run_id: int


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


def seal(run: Sealing, hour: Hour, meter: Meter) -> bool:
    """Stores the next sealing of a ready hour, to the last byte; False when nothing is new.

    The first sealing is stored even when the hour has no events: its manifest then says "none",
    which no manifest would leave unsaid. Later ones need a changed fact, or a source that was
    open at the last sealing and is not any more.
    """
    connection, settings = run.connection, run.settings
    state = deliveries.lock(connection, hour, meter)
    open_ids = _open_sources(connection, settings, hour)
    envelope = BillingEvent(settings.product)
    changes = deliveries.changes(connection, hour, meter, state.sealings, settings.default_region)
    events = (_event(envelope, change) for change in changes)
    batches = cut(events, settings.s3_max_events, settings.s3_max_bytes)
    sealing = state.sealings + 1
    keys = object_keys(settings)
    ordinal = sealed_events = 0
    for ordinal, batch in enumerate(batches, start=1):
        sealed_events += batch.events
        key = keys.batch(meter.event_type, hour, sealing, ordinal, batch)
        _store(run, hour, meter, sealing, ordinal, "events", key, batch)
    source_closed = not set(state.open_sources) <= set(open_ids)
    if ordinal == 0 and state.sealings > 0 and not source_closed:
        return False
    entries = [
        ManifestEntry(**entry) for entry in deliveries.sealed_batches(connection, hour, meter)
    ]
    document = manifest(meter.event_type, hour, sealing, entries, open_ids)
    key = keys.manifest(meter.event_type, hour, sealing)
    whole = Batch(document, 0, 0, hour.first_minute, digest_of_ids(()))
    _store(run, hour, meter, sealing, 0, "manifest", key, whole)
    deliveries.close_sealing(connection, hour, meter, sealing, sealed_events, open_ids)
    _log.info("%s %s: sealing %d, %d batches", hour, meter.event_type, sealing, ordinal)
    return True


def move(run: Sealing, hour: Hour, meter: Meter, gone: str) -> None:
    """Gives what waits for a bucket that is gone to the configured one.

    Batches keep their keys and bytes. Manifests name the bucket of each batch: those that were not
    sent yet, all that can name one that waits, are written again.
    """
    connection = run.connection
    with connection.transaction():
        deliveries.lock(connection, hour, meter)
        keys = deliveries.move_batches(connection, hour, meter, gone, run.bucket)
        for batch_id, stored in deliveries.waiting_manifests(connection, hour, meter):
            document = moved(decompress(stored), gone, keys, run.bucket)
            deliveries.rewrite_manifest(
                connection,
                batch_id,
                len(document),
                hashlib.sha256(document).digest(),
                compress(document),
            )
    _log.warning(
        "%s %s: %d objects waited for s3://%s, which is gone; they go to s3://%s",
        hour, meter.event_type, len(keys), gone, run.bucket,
    )  # fmt: skip


def _event(envelope: Envelope, change: FactChange) -> Event:
    return Event(envelope.line(change), change.event_id(), change.usage, change.minute)


def _store(
    run: Sealing,
    hour: Hour,
    meter: Meter,
    sealing: int,
    ordinal: int,
    kind: BatchKind,
    key: str,
    batch: Batch,
) -> None:
    deliveries.insert_batch(
        run.connection,
        NewBatch(
            hour=hour.index,
            meter_id=meter.meter_id,
            sealing=sealing,
            ordinal=ordinal,
            kind=kind,
            bucket=run.bucket,
            object_key=key,
            events=batch.events,
            net_quantity=batch.usage,
            first_minute=batch.first_minute if batch.events else None,
            size_bytes=len(batch.payload),
            sha256=batch.sha256,
            event_ids_sha256=batch.event_ids_sha256,
            payload=compress(batch.payload),
            run_id=run.run_id,
        ),
    )
