"""Events cut into batches, object keys, digests and manifests; the same input, the same bytes.

Source of the rules: delivery contract, the path and its limits, "Sealing", "Manifest".
"""

import gzip
import hashlib
import re
import uuid
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from billing_etl.errors import UsageError
from billing_etl.hours import Hour, minute_start

_BATCH_NAMESPACE: Final = uuid.UUID("0d4f4f0e-6a57-5f0c-8a53-92f1c7b1d6ce")
_FIELD: Final = re.compile(r"\{(\w+)\}")
_HOUR_FIELDS: Final = frozenset({"event_type", "year", "month", "day", "hour"})
_BATCH_FIELDS: Final = frozenset({"minute", "batch", "uuid"})
# The spool is written once and rarely read: speed counts for more than the last tenth of size.
DEFAULT_PATH_TEMPLATE: Final = "{event_type}/{year}/{month}/{day}/{hour}/{batch}.jsonl"
_GZIP_LEVEL: Final = 3
_MAX_USAGE: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Event:
    """A line to send, with what its batch has to know about it. ``usage`` is signed."""

    line: bytes
    event_id: str
    usage: int
    minute: int


@dataclass(frozen=True, slots=True)
class Batch:
    """The exact bytes of one object, before they are given a key.

    Attributes:
        usage: signed sum over the events.
        first_minute: minute of the oldest event.
    """

    payload: bytes = field(repr=False)
    events: int
    usage: int
    first_minute: int
    event_ids_sha256: bytes

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.payload).digest()


def cut(events: Iterable[Event], max_events: int, max_bytes: int) -> Iterator[Batch]:
    """Cuts events, in their order, into batches; holds one batch in memory.

    No batch has more than ``max_events`` events or ``max_bytes`` bytes, except that a single
    event larger than ``max_bytes`` travels alone. No sum of its usage, in any order, leaves 64
    bits, as the usage of one event never does.
    """
    pending: list[Event] = []
    size_bytes = magnitude = 0
    for event in events:
        is_full = (
            len(pending) >= max_events
            or size_bytes + len(event.line) > max_bytes
            or magnitude + abs(event.usage) > _MAX_USAGE
        )
        if pending and is_full:
            yield _batch(pending)
            pending, size_bytes, magnitude = [], 0, 0
        pending.append(event)
        size_bytes += len(event.line)
        magnitude += abs(event.usage)
    if pending:
        yield _batch(pending)


def _batch(events: list[Event]) -> Batch:
    return Batch(
        payload=b"".join(event.line for event in events),
        events=len(events),
        usage=sum(event.usage for event in events),
        first_minute=min(event.minute for event in events),
        event_ids_sha256=digest_of_ids(event.event_id for event in events),
    )


def digest_of_ids(event_ids: Iterable[str]) -> bytes:
    """SHA-256 over the ids in their order, one per line."""
    return hashlib.sha256("".join(f"{event_id}\n" for event_id in event_ids).encode()).digest()


def compress(payload: bytes) -> bytes:
    """gzip without a time stamp: equal payloads are stored as equal bytes."""
    return gzip.compress(payload, compresslevel=_GZIP_LEVEL, mtime=0)


def decompress(stored: bytes) -> bytes:
    return gzip.decompress(stored)


@dataclass(frozen=True, slots=True)
class ObjectKeys:
    """Where objects lie in a bucket.

    ``template`` may use {event_type}, {year}, {month}, {day}, {hour}; {minute}, that of the
    batch's oldest event; {batch}, a name that sorts in sealing order; {uuid}, the same name as a
    UUID. Its directories before the first of the last three are the hour's own: manifests lie
    there.

    Raises:
        UsageError: the template would not give every hour and every batch a place of its own.
    """

    prefix: str = ""
    template: str = DEFAULT_PATH_TEMPLATE

    def __post_init__(self) -> None:
        in_directory = set(_FIELD.findall(self._directory_template))
        in_template = set(_FIELD.findall(self.template))
        is_usable = (
            in_directory == _HOUR_FIELDS
            and in_template <= _HOUR_FIELDS | _BATCH_FIELDS
            and in_template & {"batch", "uuid"}
        )
        if not is_usable:
            raise UsageError(
                f"BILLING_S3_PATH_TEMPLATE: expected a path such as {DEFAULT_PATH_TEMPLATE}, with "
                "event type, year, month, day and hour as directories and {batch} or {uuid} after "
                f"them, got {self.template}"
            )

    @property
    def _directory_template(self) -> str:
        directory = ""
        for segment in self.template.split("/")[:-1]:
            if _BATCH_FIELDS & set(_FIELD.findall(segment)):
                break
            directory += f"{segment}/"
        return directory

    def directory(self, event_type: str, hour: Hour) -> str:
        """What the keys of an hour and event type share, ending in a slash."""
        return self._path(self._directory_template, _hour_fields(event_type, hour))

    def batch(self, event_type: str, hour: Hour, sealing: int, ordinal: int, batch: Batch) -> str:
        """Deterministic: a second run that seals the same bytes names them alike."""
        digest = batch.sha256.hex()
        place = f"{event_type}/{hour}/{sealing}/{ordinal}/{digest}"
        fields = {
            "minute": minute_start(batch.first_minute).strftime("%M"),
            "batch": f"{sealing:03d}-{ordinal:05d}-{digest[:12]}",
            "uuid": str(uuid.uuid5(_BATCH_NAMESPACE, place)),
        }
        return self._path(self.template, _hour_fields(event_type, hour) | fields)

    def manifest(self, event_type: str, hour: Hour, sealing: int) -> str:
        return f"{self.directory(event_type, hour)}_manifest-{sealing}.json"

    def _path(self, template: str, fields: dict[str, str]) -> str:
        path = _FIELD.sub(lambda match: fields[match[1]], template)
        return "/".join(part for part in (self.prefix.strip("/"), path) if part)


def _hour_fields(event_type: str, hour: Hour) -> dict[str, str]:
    year, month, day, hour_of_day = hour.start.strftime("%Y %m %d %H").split()
    return {
        "event_type": event_type,
        "year": year,
        "month": month,
        "day": day,
        "hour": hour_of_day,
    }


class ManifestEntry(msgspec.Struct, frozen=True):
    """One batch as a manifest names it; ``sha256`` in hex, ``usage`` the signed sum."""

    bucket: str
    key: str
    sealing: int
    events: int
    usage: int
    bytes: int
    sha256: str


class _Totals(msgspec.Struct, frozen=True):
    batches: int
    events: int
    usage: int
    bytes: int


class _Manifest(msgspec.Struct, frozen=True):
    event_type: str
    hour: str
    sealing: int
    open_sources: list[str]
    totals: _Totals
    batches: list[ManifestEntry]


def manifest(
    event_type: str,
    hour: Hour,
    sealing: int,
    entries: list[ManifestEntry],
    open_sources: list[str],
) -> bytes:
    """All batches of the hour so far and the source-hours still open, as one JSON document."""
    document = _Manifest(
        event_type=event_type,
        hour=hour.start.strftime("%Y-%m-%dT%H:%M:%SZ"),
        sealing=sealing,
        open_sources=open_sources,
        totals=_Totals(
            batches=len(entries),
            events=sum(entry.events for entry in entries),
            usage=sum(entry.usage for entry in entries),
            bytes=sum(entry.bytes for entry in entries),
        ),
        batches=entries,
    )
    return _document(document)


def moved(manifest: bytes, gone: str, keys: Collection[str], bucket: str) -> bytes:
    """The same manifest once these keys lie in another bucket than the one that is gone."""
    document = msgspec.json.decode(manifest, type=_Manifest)
    entries = [
        msgspec.structs.replace(entry, bucket=bucket)
        if entry.bucket == gone and entry.key in keys
        else entry
        for entry in document.batches
    ]
    return _document(msgspec.structs.replace(document, batches=entries))


def _document(manifest: _Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
