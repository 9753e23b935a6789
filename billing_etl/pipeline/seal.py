"""Seals an hour: decides and stores every byte that goes out, before any is sent.

Source of the rules: delivery contract, "Sealing", "When" and "Manifest".
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from billing_etl.batches import (
    Batch,
    Manifest,
    ManifestEntry,
    compress,
    decompress,
    digest_of_ids,
    manifest,
)
from billing_etl.events import FactChange
from billing_etl.hours import Hour
from billing_etl.pipeline.forms import Form, forms_of, object_keys
from billing_etl.settings import Settings
from billing_etl.store import archives, deliveries
from billing_etl.store.database import Connection
from billing_etl.store.deliveries import BatchKind, Meter, NewBatch, SealedBatches

_log = logging.getLogger(__name__)
# Of compressed payloads that are stored together.
_GROUP_OBJECTS: Final = 128
_GROUP_BYTES: Final = 2 * 2**20


@dataclass(frozen=True, slots=True)
class Sealing:
    """What the sealings of one run share; ``bucket`` is where their objects are to go."""

    settings: Settings
    connection: Connection
    bucket: str
    run_id: int


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
    archives.refuse(connection, hour, "export")  # not any more while the lock is held
    open_ids = _open_sources(connection, settings, hour)
    changes = deliveries.changes(connection, hour, meter, state.sealings, settings.default_region)
    sealing = state.sealings + 1
    sealed = Counter[BatchKind]()
    sealed_events = 0
    for group in _in_groups(_batches(run, hour, meter, sealing, changes)):
        deliveries.insert_batches(connection, group)
        sealed.update(batch.kind for batch in group)
        sealed_events += sum(batch.events for batch in group if batch.kind == "events")
    source_closed = not set(state.open_sources) <= set(open_ids)
    if not sealed and state.sealings > 0 and not source_closed:
        return False
    lines = _Entries(SealedBatches(connection, hour, meter, "events"))
    parquet = _Entries(SealedBatches(connection, hour, meter, "parquet"))
    document = manifest(meter.event_type, hour, sealing, lines, open_ids, parquet)
    key = object_keys(settings).manifest(meter.event_type, hour, sealing)
    whole = Batch(document, 0, 0, hour.first_minute, digest_of_ids(()))
    place = _Place(hour, meter, sealing, 0, "manifest", "manifest", key)
    deliveries.insert_batches(connection, [_new(run, place, whole)])
    deliveries.close_sealing(connection, hour, meter, sealing, sealed_events, open_ids)
    _log.info("%s %s: sealing %d, %d batches", hour, meter.event_type, sealing, sealed["events"])
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
            document = Manifest.read(decompress(stored)).moved(gone, keys, run.bucket).written()
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


def _batches(
    run: Sealing, hour: Hour, meter: Meter, sealing: int, changes: Iterable[FactChange]
) -> Iterator[NewBatch]:
    ordinals = Counter[BatchKind]()
    for form, batch in _cut(changes, forms_of(run.settings)):
        ordinals[form.kind] += 1
        ordinal = ordinals[form.kind]
        key = form.keys.batch(meter.event_type, hour, sealing, ordinal, batch)
        place = _Place(hour, meter, sealing, ordinal, form.kind, form.envelope, key)
        yield _new(run, place, batch)


def _in_groups(batches: Iterable[NewBatch]) -> Iterator[list[NewBatch]]:
    """What is stored together, so that a small object costs no round trip of its own."""
    group: list[NewBatch] = []
    size_bytes = 0
    for batch in batches:
        group.append(batch)
        size_bytes += len(batch.payload)
        if len(group) >= _GROUP_OBJECTS or size_bytes >= _GROUP_BYTES:
            yield group
            group, size_bytes = [], 0
    if group:
        yield group


def _cut(changes: Iterable[FactChange], forms: tuple[Form, ...]) -> Iterator[tuple[Form, Batch]]:
    """The objects of every form as they are full: one pass, one object under way per form."""
    for change in changes:
        for form in forms:
            if (full := form.add(change)) is not None:
                yield form, full
    for form in forms:
        if (rest := form.finish()) is not None:
            yield form, rest


@dataclass(frozen=True, slots=True)
class _Entries:
    """What a manifest names, read anew each time it is iterated."""

    batches: SealedBatches

    def __iter__(self) -> Iterator[ManifestEntry]:
        return (ManifestEntry(**entry) for entry in self.batches)


class _Place(NamedTuple):
    """Which object of a sealing it is; ``ordinal`` counts per kind."""

    hour: Hour
    meter: Meter
    sealing: int
    ordinal: int
    kind: BatchKind
    envelope: str
    key: str


def _new(run: Sealing, place: _Place, batch: Batch) -> NewBatch:
    return NewBatch(
        hour=place.hour.index,
        meter_id=place.meter.meter_id,
        sealing=place.sealing,
        ordinal=place.ordinal,
        kind=place.kind,
        envelope=place.envelope,
        bucket=run.bucket,
        object_key=place.key,
        events=batch.events,
        net_quantity=batch.usage,
        first_minute=batch.first_minute if batch.events else None,
        size_bytes=len(batch.payload),
        sha256=batch.sha256,
        event_ids_sha256=batch.event_ids_sha256,
        payload=compress(batch.payload),
        run_id=run.run_id,
    )
