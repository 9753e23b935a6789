"""Events cut into batches, with their digests; the same input, the same bytes.

Source of the rules: delivery contract, the path and its limits, "Sealing".
"""

import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import zstandard

# Payloads are written once and rarely read: speed counts for more than the last tenth of size.
_ZSTD_LEVEL: Final = 1
_GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP_WITH_HEADER: Final = 31  # as zlib calls it: a header and trailer of gzip, which are checked
_MAX_USAGE: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Event:
    """What a batch has to know about an event, whatever its form.

    Attributes:
        usage: signed.
        minute: minutes since 1970.
        tenant: events of different tenants share no object; empty where they may.
    """

    event_id: str
    usage: int
    minute: int
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """The exact bytes of one object, before they are given a key.

    Attributes:
        usage: signed sum over the events.
        first_minute: minute of the oldest event.
        tenant: that of all its events; empty where they may differ.
    """

    payload: bytes = field(repr=False)
    events: int
    usage: int
    first_minute: int
    event_ids_sha256: bytes
    tenant: str = ""

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.payload).digest()


class Tally:
    """What a batch under way holds; the rules that every form of events is cut by.

    No batch has more than ``max_events`` events or events of two tenants. No sum of its usage,
    in any order, leaves 64 bits, as the usage of one event never does.
    """

    def __init__(self, max_events: int) -> None:
        self._max_events = max_events
        self.events = 0
        self._usage = self._magnitude = 0
        self._first_minute = 0
        self._tenant = ""
        self._event_ids = hashlib.sha256()

    def has_room_for(self, event: Event) -> bool:
        """An empty batch takes any event."""
        return self.events == 0 or (
            self.events < self._max_events
            and self._magnitude + abs(event.usage) <= _MAX_USAGE
            and event.tenant == self._tenant
        )

    def add(self, event: Event) -> None:
        is_oldest = self.events == 0 or event.minute < self._first_minute
        self._first_minute = event.minute if is_oldest else self._first_minute
        self._tenant = event.tenant
        self.events += 1
        self._usage += event.usage
        self._magnitude += abs(event.usage)
        self._event_ids.update(_id_line(event.event_id))

    def batch(self, payload: bytes) -> Batch:
        """The events so far as one batch with these bytes."""
        return Batch(
            payload=payload,
            events=self.events,
            usage=self._usage,
            first_minute=self._first_minute,
            event_ids_sha256=self._event_ids.digest(),
            tenant=self._tenant,
        )


class LineCutter:
    """Cuts lines, in their order, into batches; holds one batch in memory.

    No batch has more than ``max_bytes`` bytes, except that a single event larger than that
    travels alone; for the other limits see ``Tally``.
    """

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events, self._max_bytes = max_events, max_bytes
        self._begin()

    def _begin(self) -> None:
        self._tally = Tally(self._max_events)
        self._lines: list[bytes] = []
        self._size_bytes = 0

    def add(self, event: Event, line: bytes) -> Batch | None:
        """Takes one event more and gives the batch that had no room for it."""
        is_full = (
            not self._tally.has_room_for(event) or self._size_bytes + len(line) > self._max_bytes
        )
        full = self.finish() if is_full else None
        self._tally.add(event)
        self._lines.append(line)
        self._size_bytes += len(line)
        return full

    def finish(self) -> Batch | None:
        """The batch under way; None when it holds nothing."""
        if not self._lines:
            return None
        batch = self._tally.batch(b"".join(self._lines))
        self._begin()
        return batch


def digest_of_ids(event_ids: Iterable[str]) -> bytes:
    """SHA-256 over the ids in their order, one per line."""
    digest = hashlib.sha256()
    for event_id in event_ids:
        digest.update(_id_line(event_id))
    return digest.digest()


def _id_line(event_id: str) -> bytes:
    return f"{event_id}\n".encode()


def compress(payload: bytes) -> bytes:
    """zstd with its checksum: equal payloads are stored as equal bytes.

    Piece by piece: in one go zstd writes into a buffer as large as the payload, which is shrunk
    where it stands. Of results held together each would leave a gap too small for the next one.
    """
    compressor = zstandard.ZstdCompressor(_ZSTD_LEVEL, write_checksum=True)
    pieces = compressor.compressobj(size=len(payload))
    return pieces.compress(payload) + pieces.flush()


def decompress(stored: bytes) -> bytes:
    """What ``compress`` was given; gzip, which earlier versions stored, is read as well.

    Raises:
        ValueError: it is neither, or damaged.
    """
    try:
        if stored.startswith(_GZIP_MAGIC):
            return zlib.decompress(stored, _GZIP_WITH_HEADER)
        return zstandard.decompress(stored)
    except (zlib.error, zstandard.ZstdError) as error:
        raise ValueError(f"expected zstd or gzip, got something else ({error})") from None
