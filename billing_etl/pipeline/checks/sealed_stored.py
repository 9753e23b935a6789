"""Sealed against stored: keys, sizes, checksums, line counts and distinct ids.

An object whose checksum is that of its sealed payload holds these very bytes; lines and ids are
therefore counted in the payload. Only here may an object be overwritten: one that is missing or
damaged is sent again from its sealed payload, and that is recorded.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

import msgspec

from billing_etl.batches import ManifestEntry, decompress, digest_of_ids
from billing_etl.delivery import StoredObject, configured_bucket
from billing_etl.errors import TerminalError
from billing_etl.events import BillingEvent
from billing_etl.hours import Hour
from billing_etl.pipeline.checks.inspection import Check, Inspection
from billing_etl.pipeline.seal import object_keys
from billing_etl.pipeline.send import CONTENT_TYPES
from billing_etl.reconciliation import Difference, Examination, total
from billing_etl.store import deliveries, reconciliations
from billing_etl.store.reconciliations import SealedBatch


class _ReadManifest(msgspec.Struct, frozen=True):
    batches: list[ManifestEntry]


@dataclass(frozen=True, slots=True)
class _Payload:
    """What the sealed payload of an object holds."""

    size_bytes: int
    sha256: bytes
    lines: int
    distinct_ids: int
    event_ids_sha256: bytes


def examine(inspection: Inspection, hour: Hour) -> Examination:
    if inspection.objects is None:
        return Examination(notes=("BILLING_S3_ENABLED is off",), skipped=True)
    objects = inspection.objects
    # Listed before the database is read: what is listed was sealed before, or is not ours.
    listed = _listed(inspection, hour)
    batches = [
        batch
        for meter in inspection.meters
        for batch in reconciliations.sealed_batches(inspection.connection, hour, meter)
    ]
    # An object is asked for by its key: the list alone may be older than the object.
    held = list(
        inspection.pool.map(lambda batch: objects.head(batch.bucket, batch.object_key), batches)
    )
    differences: list[Difference] = []
    to_repair: list[str] = []
    for batch, stored in zip(batches, held, strict=True):
        in_database = []
        if batch.has_payload:
            in_database = _payload_differences(batch, _read_payload(inspection, batch))
        in_store = _object_differences(batch, stored)
        if in_store and not batch.has_payload:
            in_database = [_cannot_be_sent_again(batch)]
        differences += in_database + in_store
        if not in_database and (in_store or not batch.is_delivered):
            to_repair.append(str(batch.batch_id))
        if not in_store and not batch.is_delivered:
            differences.append(Difference(_place(batch), "delivery", "recorded", "not recorded"))
    differences += _manifest_differences(inspection, batches)
    known = {(batch.bucket, batch.object_key) for batch in batches}
    foreign = sorted(listed - known)
    differences += [
        Difference(f"s3://{bucket}/{key}", "foreign objects", 0, 1) for bucket, key in foreign
    ]
    found = [stored for stored in held if stored is not None]
    return Examination(
        measures=(
            total("objects", (1 for _ in batches), (1 for _ in [*found, *foreign])),
            total("bytes", (b.size_bytes for b in batches), (s.size_bytes for s in found)),
        ),
        differences=tuple(differences),
        to_repair=tuple(to_repair),
    )


def _listed(inspection: Inspection, hour: Hour) -> set[tuple[str, str]]:
    """Every object in the directories of the hour, in the configured bucket."""
    assert inspection.objects is not None
    bucket = configured_bucket(inspection.settings)
    keys = object_keys(inspection.settings)
    return {
        (bucket, key)
        for meter in inspection.meters
        for key in inspection.objects.list_keys(bucket, keys.directory(meter.event_type, hour))
    }


def _read_payload(inspection: Inspection, batch: SealedBatch) -> _Payload:
    payload = _payload(inspection, batch)
    envelope = BillingEvent(inspection.settings.product)
    lines = payload.splitlines() if batch.kind == "events" else []
    ids = [envelope.read(line).event_id for line in lines]
    return _Payload(
        len(payload),
        hashlib.sha256(payload).digest(),
        len(lines),
        len(set(ids)),
        digest_of_ids(ids),
    )


def _payload(inspection: Inspection, batch: SealedBatch) -> bytes:
    return decompress(deliveries.compressed_payload(inspection.connection, batch.batch_id))


def _place(batch: SealedBatch) -> str:
    return f"s3://{batch.bucket}/{batch.object_key}"


def _payload_differences(batch: SealedBatch, payload: _Payload) -> list[Difference]:
    subject = f"sealed payload of {_place(batch)}"
    pairs = (
        ("bytes", batch.size_bytes, payload.size_bytes),
        ("SHA-256", batch.sha256.hex(), payload.sha256.hex()),
        ("lines", batch.events, payload.lines),
        ("distinct ids", batch.events, payload.distinct_ids),
        ("SHA-256 of ids", batch.event_ids_sha256.hex(), payload.event_ids_sha256.hex()),
    )
    return [
        Difference(subject, measure, expected, actual)
        for measure, expected, actual in pairs
        if expected != actual
    ]


def _cannot_be_sent_again(batch: SealedBatch) -> Difference:
    remedy = (
        "none: dropped after BILLING_PAYLOAD_RETENTION, so it cannot be sent again; restore the "
        f"object from a copy or version of SHA-256 {batch.sha256.hex()}"
    )
    return Difference(_place(batch), "sealed payload", "kept", remedy)


def _object_differences(batch: SealedBatch, stored: StoredObject | None) -> list[Difference]:
    if stored is None:
        return [Difference(_place(batch), "objects", 1, 0)]
    if stored.size_bytes != batch.size_bytes:
        return [Difference(_place(batch), "bytes", batch.size_bytes, stored.size_bytes)]
    if stored.sha256 != batch.sha256:
        return [Difference(_place(batch), "SHA-256", batch.sha256.hex(), stored.sha256.hex())]
    return []


def _manifest_differences(inspection: Inspection, batches: list[SealedBatch]) -> list[Difference]:
    """The newest manifest of an hour names every batch, as it is."""
    manifests = [batch for batch in batches if batch.kind == "manifest"]
    if not manifests:
        return []
    newest = max(manifests, key=lambda batch: batch.sealing)
    if not newest.has_payload:
        return []
    document = msgspec.json.decode(_payload(inspection, newest), type=_ReadManifest)
    expected = [
        ManifestEntry(
            bucket=batch.bucket,
            key=batch.object_key,
            sealing=batch.sealing,
            events=batch.events,
            usage=batch.usage,
            bytes=batch.size_bytes,
            sha256=batch.sha256.hex(),
        )
        for batch in batches
        if batch.kind == "events"
    ]
    named = set(document.batches)
    return [
        Difference(f"manifest {_place(newest)}", f"entry of {entry.key}", "as sealed", "not so")
        for entry in sorted(set(expected) ^ named, key=lambda entry: entry.key)
    ]


def repair(inspection: Inspection, hour: Hour, batch_id: str) -> str:
    """Sends a missing or damaged object again from its sealed payload."""
    assert inspection.objects is not None
    batch = reconciliations.sealed_batch(inspection.connection, int(batch_id))
    payload = _payload(inspection, batch)
    if hashlib.sha256(payload).digest() != batch.sha256:
        raise TerminalError(f"{_place(batch)}: its sealed payload is damaged, not sent")
    etag = inspection.objects.replace(
        batch.bucket, batch.object_key, payload, CONTENT_TYPES[batch.kind]
    )
    deliveries.mark_delivered(inspection.connection, {batch.batch_id: etag})
    return f"{_place(batch)} sent again"


CHECK: Final = Check("sealed_stored", examine, repair)
