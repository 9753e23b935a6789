"""Sealed against stored: keys, sizes, checksums, line counts and distinct ids.

The directories of the hour are listed; an object whose size and ETag are those that the store
answered when it was sent is what was sent. Only one that the listing does not know, or knows
otherwise, is asked for its SHA-256, and only a deep run reads bodies. Sealed payloads are held
against their digest by the database, packed as they are.

Only here may an object be overwritten: one that is missing or damaged is sent again from its
sealed payload, and that is recorded.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from billing_etl.batches import compress, digest_of_ids
from billing_etl.delivery import ListedObject, StoredObject, configured_bucket
from billing_etl.errors import MismatchError, TerminalError
from billing_etl.hours import Hour
from billing_etl.pipeline.checks.bodies import Bodies
from billing_etl.pipeline.checks.inspection import Check, Inspection
from billing_etl.pipeline.checks.manifests import manifest_differences
from billing_etl.pipeline.forms import directories
from billing_etl.pipeline.send import CONTENT_TYPES
from billing_etl.reconciliation import Difference, Examination, Measure, Remedy, Value, total
from billing_etl.store import deliveries, reconciliations
from billing_etl.store.reconciliations import SealedBatch

_PAYLOAD: Final = "sealed payload of "

_Place: TypeAlias = tuple[str, str]


def examine(inspection: Inspection, hour: Hour) -> Examination:
    if inspection.objects is None:
        return Examination(notes=("BILLING_S3_ENABLED is off",), skipped=True)
    # Listed before the database is read: what is listed was sealed before, or is not ours.
    directories = _directories(inspection, hour)
    listed = _list(inspection, directories)
    by_meter: list[list[SealedBatch]] = []
    damaged: dict[int, tuple[str | None, str]] = {}
    for meter in inspection.meters:
        by_meter.append(reconciliations.sealed_batches(inspection.connection, hour, meter))
        damaged |= reconciliations.damaged_payloads(inspection.connection, hour, meter)
    batches = [batch for of_meter in by_meter for batch in of_meter]
    foreign = _foreign(inspection, listed, batches)
    held = _held(inspection, batches, listed | _list(inspection, _former(batches, directories)))
    seen = [_look_at(inspection, batch, held[batch.batch_id], damaged) for batch in batches]
    if inspection.deep:
        seen = list(inspection.pool.map(lambda look: _look_into(inspection, look), seen))
    manifests: list[Difference] = []
    notes: list[str] = []
    for of_meter in by_meter:
        found_in, not_compared = manifest_differences(inspection, of_meter, damaged)
        manifests += found_in
        notes += not_compared
    gone = sum(not batch.has_payload for batch in batches)
    if gone:
        notes.append(f"{gone} sealed payloads are kept no more and could not be looked at")
    strangers = [
        Difference(f"s3://{bucket}/{key}", "foreign objects", 0, 1) for bucket, key in foreign
    ]
    found = [held[batch.batch_id] for batch in batches]
    present = [each for each in found if each is not None]
    return Examination(
        measures=(
            Measure("objects", len(batches), len(present) + len(foreign)),
            total("bytes", (b.size_bytes for b in batches), (s.size_bytes for s in present)),
        ),
        differences=(
            *(each for look in seen for each in look.differences),
            *manifests,
            *strangers,
        ),
        notes=tuple(notes),
        remedies=tuple(remedy for look in seen for remedy in _remedies(look)),
    )


def _remedies(seen: "_Seen") -> list[Remedy]:
    """Of the object and its sealed payload, each may be restored from the other."""
    batch = seen.batch
    if seen.in_store and not seen.in_database and batch.has_payload:
        action = f"send {batch.place} again from its sealed payload"
        return [Remedy(batch.place, action, seen.in_store)]
    if seen.in_database and not seen.in_store:
        action = f"restore the sealed payload of {batch.place} from the stored object"
        return [Remedy(_PAYLOAD + batch.place, action, seen.in_database)]
    return []


# --- the object store --------------------------------------------------------------------------


def _directories(inspection: Inspection, hour: Hour) -> set[_Place]:
    """The directories of the hour, as configured now, by bucket."""
    bucket = configured_bucket(inspection.settings)
    return {
        (bucket, directory)
        for meter in inspection.meters
        for directory in directories(inspection.settings, meter.event_type, hour)
    }


def _former(batches: Iterable[SealedBatch], known: set[_Place]) -> set[_Place]:
    """Where the hour was sealed to, when that was configured otherwise."""
    return {
        (batch.bucket, batch.object_key.rpartition("/")[0] + "/")
        for batch in batches
        if batch.kind != "events"  # those may lie deeper; their manifest lies where they begin
    } - known


def _list(inspection: Inspection, directories: set[_Place]) -> dict[_Place, ListedObject]:
    assert inspection.objects is not None
    return {
        (bucket, entry.key): entry
        for bucket, prefix in sorted(directories)
        for entry in inspection.objects.list_objects(bucket, prefix)
    }


def _foreign(
    inspection: Inspection, listed: dict[_Place, ListedObject], batches: list[SealedBatch]
) -> list[_Place]:
    """Objects in the directories of the hour that were never sealed."""
    unknown = sorted(listed.keys() - {(batch.bucket, batch.object_key) for batch in batches})
    elsewhere = {
        (bucket, key)
        for bucket in {bucket for bucket, _ in unknown}
        for key in reconciliations.sealed_elsewhere(
            inspection.connection, bucket, [key for of, key in unknown if of == bucket]
        )
    }
    return [place for place in unknown if place not in elsewhere]


def _held(
    inspection: Inspection, batches: list[SealedBatch], listed: dict[_Place, ListedObject]
) -> dict[int, StoredObject | None]:
    """What the store holds of every batch; it is asked only where the listing leaves a doubt."""
    assert inspection.objects is not None
    head = inspection.objects.head
    held: dict[int, StoredObject | None] = {}
    doubtful: list[SealedBatch] = []
    for batch in batches:
        entry = listed.get((batch.bucket, batch.object_key))
        answered = (batch.size_bytes, batch.etag)
        if batch.is_delivered and batch.etag is not None and entry and entry[1:] == answered:
            held[batch.batch_id] = StoredObject(batch.size_bytes, batch.sha256, batch.etag)
        else:
            doubtful.append(batch)
    answers = inspection.pool.map(lambda batch: head(batch.bucket, batch.object_key), doubtful)
    return held | {batch.batch_id: answer for batch, answer in zip(doubtful, answers, strict=True)}


# --- batch by batch ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is wrong with a batch, in the store and in the database."""

    batch: SealedBatch
    in_store: tuple[Difference, ...]
    in_database: tuple[Difference, ...]

    @property
    def differences(self) -> tuple[Difference, ...]:
        return (*self.in_database, *self.in_store)


def _look_at(
    inspection: Inspection,
    batch: SealedBatch,
    stored: StoredObject | None,
    damaged: dict[int, tuple[str | None, str]],
) -> _Seen:
    in_database: tuple[Difference, ...] = ()
    if batch.batch_id in damaged:
        in_database = (_payload_difference(batch, *damaged[batch.batch_id]),)
    in_store = _object_differences(batch, stored)
    if in_store and not batch.has_payload:
        in_store = (*in_store, _cannot_be_sent_again(batch))
    if not in_store and not batch.is_delivered:
        in_store = (Difference(batch.place, "delivery", "recorded", "not recorded"),)
    return _Seen(batch, in_store, in_database)


def _cannot_be_sent_again(batch: SealedBatch) -> Difference:
    remedy = (
        "none: dropped after BILLING_PAYLOAD_RETENTION, so it cannot be sent again; restore the "
        f"object from a copy or version of SHA-256 {batch.sha256.hex()}"
    )
    return Difference(batch.place, "sealed payload", "kept", remedy)


def _payload_difference(batch: SealedBatch, kept: str | None, found: str) -> Difference:
    return Difference(_PAYLOAD + batch.place, "SHA-256 as packed", kept, found)


def _object_differences(batch: SealedBatch, stored: StoredObject | None) -> tuple[Difference, ...]:
    if stored is None:
        return (Difference(batch.place, "objects", 1, 0),)
    if stored.size_bytes != batch.size_bytes:
        return (Difference(batch.place, "bytes", batch.size_bytes, stored.size_bytes),)
    if stored.sha256 != batch.sha256:
        return (Difference(batch.place, "SHA-256", batch.sha256.hex(), stored.sha256.hex()),)
    return ()


def _look_into(inspection: Inspection, seen: _Seen) -> _Seen:
    """Reads the bodies of a batch, where nothing was seen without."""
    bodies, batch = Bodies(inspection), seen.batch
    in_store, in_database = seen.in_store, seen.in_database
    if not in_store:
        body = bodies.stored(batch)
        wrong = (
            [Difference(batch.place, "objects", 1, 0)]
            if body is None
            else _body_differences(bodies, batch, batch.place, body)
        )
        in_store = tuple(replace(each, needs_deep=True) for each in wrong)
    if not in_database and batch.has_payload:
        name = _PAYLOAD + batch.place
        try:
            payload = bodies.sealed(batch)
            wrong = [] if payload is None else _body_differences(bodies, batch, name, payload)
        except ValueError as error:
            wrong = [Difference(name, "content", "zstd", str(error))]
        in_database = tuple(replace(each, needs_deep=True) for each in wrong)
    return _Seen(batch, in_store, in_database)


def _body_differences(
    bodies: Bodies, batch: SealedBatch, subject: str, body: bytes
) -> list[Difference]:
    pairs: list[tuple[str, Value, Value]] = [
        ("bytes", batch.size_bytes, len(body)),
        ("SHA-256", batch.sha256.hex(), hashlib.sha256(body).hexdigest()),
    ]
    if batch.kind != "manifest":
        try:
            events = list(bodies.events(batch, body))
        except MismatchError as error:
            return [Difference(subject, "lines", "events", str(error))]
        ids = [event.event_id for event in events]
        pairs += [
            ("lines", batch.events, len(ids)),
            ("distinct ids", batch.events, len(set(ids))),
            ("SHA-256 of ids", batch.event_ids_sha256.hex(), digest_of_ids(ids).hex()),
            ("net usage", batch.usage, sum(event.usage for event in events)),
        ]
    return [Difference(subject, *pair) for pair in pairs if pair[1] != pair[2]]


# --- repair ------------------------------------------------------------------------------------


def repair(inspection: Inspection, hour: Hour, subject: str) -> str:
    """Sends a missing or damaged object again from its sealed payload, or the other way round.

    Raises:
        TerminalError: what it is to be restored from is damaged too, or gone.
    """
    assert inspection.objects is not None
    place = subject.removeprefix(_PAYLOAD)
    (batch,) = (
        batch
        for meter in inspection.meters
        for batch in reconciliations.sealed_batches(inspection.connection, hour, meter)
        if batch.place == place
    )
    bodies = Bodies(inspection)
    if subject.startswith(_PAYLOAD):
        body = _sealed_bytes(batch, bodies.stored(batch), "stored object")
        reconciliations.restore_payload(inspection.connection, batch.batch_id, compress(body))
        return f"{subject} restored from the stored object"
    try:
        payload = bodies.sealed(batch)
    except ValueError:
        payload = None
    payload = _sealed_bytes(batch, payload, "sealed payload")
    etag = inspection.objects.replace(
        batch.bucket, batch.object_key, payload, CONTENT_TYPES[batch.kind]
    )
    deliveries.mark_delivered(inspection.connection, {batch.batch_id: etag})
    return f"{batch.place} sent again"


def _sealed_bytes(batch: SealedBatch, body: bytes | None, name: str) -> bytes:
    """The body, proven to be what was sealed."""
    if body is None or hashlib.sha256(body).digest() != batch.sha256:
        raise TerminalError(
            f"{batch.place}: expected a {name} with SHA-256 {batch.sha256.hex()}, got "
            f"{'none' if body is None else hashlib.sha256(body).hexdigest()}; nothing was restored"
        )
    return body


CHECK: Final = Check("sealed_stored", examine, repair, needs_facts=False)
