"""The newest manifest of an hour against the sealed batches: it says what is whole."""

from collections.abc import Collection

from billing_etl.batches import Manifest, ManifestEntry
from billing_etl.errors import MismatchError
from billing_etl.pipeline.checks.bodies import Bodies
from billing_etl.pipeline.checks.inspection import Inspection
from billing_etl.reconciliation import Difference
from billing_etl.store.reconciliations import SealedBatch


def manifest_differences(
    inspection: Inspection,
    batches: list[SealedBatch],
    damaged: Collection[int],
) -> tuple[list[Difference], list[str]]:
    """The newest manifest names every batch as it is; and what was not compared.

    Args:
        batches: of one hour and event type.
    """
    manifests = [batch for batch in batches if batch.kind == "manifest"]
    if not manifests:
        return [], []
    newest = max(manifests, key=lambda batch: batch.sealing)
    if newest.batch_id in damaged:
        return [], []  # that is a difference already
    bodies = Bodies(inspection)
    body = bodies.stored(newest) if inspection.deep else bodies.sealed(newest)
    if body is None:
        return [], [f"manifest {newest.place} was not compared: it is read by a deep run only"]
    subject = f"manifest {newest.place}"
    try:
        document = Manifest.read(body)
    except MismatchError as error:
        return [Difference(subject, "content", "a manifest", f"none ({error})")], []
    lines = {_entry(batch) for batch in batches if batch.kind == "events"}
    parquet = {_entry(batch) for batch in batches if batch.kind == "parquet"}
    return [
        *_entry_differences(subject, lines, set(document.batches)),
        *_entry_differences(subject, parquet, set(document.parquet_batches)),
    ], []


def _entry(batch: SealedBatch) -> ManifestEntry:
    return ManifestEntry(
        bucket=batch.bucket,
        key=batch.object_key,
        sealing=batch.sealing,
        events=batch.events,
        usage=batch.usage,
        bytes=batch.size_bytes,
        sha256=batch.sha256.hex(),
        envelope=batch.envelope,
    )


def _entry_differences(
    subject: str, sealed: set[ManifestEntry], named: set[ManifestEntry]
) -> list[Difference]:
    differences: list[Difference] = []
    known = {entry.key: entry for entry in named - sealed}
    for entry in sorted(sealed - named, key=lambda entry: entry.key):
        other = known.pop(entry.key, None)
        place = f"entry of {entry.key} in {subject}"
        if other is None:
            differences.append(Difference(place, "entries", 1, 0))
            continue
        # What was sealed is what the manifest said; the row is what may have been changed since.
        differences += [
            Difference(place, name, getattr(other, name), getattr(entry, name))
            for name in ManifestEntry.__struct_fields__
            if getattr(other, name) != getattr(entry, name)
        ]
    return differences + [
        Difference(f"entry of {key} in {subject}", "batches", 1, 0) for key in sorted(known)
    ]
