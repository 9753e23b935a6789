"""Manifests: what of an hour and event type is whole (delivery contract, "Manifest")."""

from collections.abc import Collection, Iterable, Sequence
from io import BytesIO
from typing import Final

import msgspec

from billing_etl.errors import MismatchError
from billing_etl.hours import Hour

_NO_BATCHES: Final = b'"batches": []'


class ManifestEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One batch as a manifest names it; ``sha256`` in hex, ``usage`` the signed sum.

    ``envelope`` is named where it is not the default.
    """

    bucket: str
    key: str
    sealing: int
    events: int
    usage: int
    bytes: int
    sha256: str
    envelope: str = "billing_event"


class _Totals(msgspec.Struct, frozen=True):
    batches: int
    events: int
    usage: int
    bytes: int


class _Parquet(msgspec.Struct, frozen=True):
    totals: _Totals
    batches: Sequence[ManifestEntry]


class Manifest(msgspec.Struct, frozen=True):
    """``parquet``: the same events once more in that form; not there when none ever were."""

    event_type: str
    hour: str
    sealing: int
    open_sources: Sequence[str]
    totals: _Totals
    batches: Sequence[ManifestEntry]
    parquet: _Parquet | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def read(cls, payload: bytes) -> "Manifest":
        """Raises MismatchError when the bytes are no manifest."""
        try:
            return msgspec.json.decode(payload, type=cls)
        except msgspec.MsgspecError as error:
            raise MismatchError(f"manifest: expected one, got other bytes ({error})") from None

    def written(self) -> bytes:
        """The bytes of the object."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"

    def moved(self, gone: str, keys: Collection[str], bucket: str) -> "Manifest":
        """The same once these keys lie in another bucket than the one that is gone."""

        def move(entries: Sequence[ManifestEntry]) -> list[ManifestEntry]:
            return [
                msgspec.structs.replace(entry, bucket=bucket)
                if entry.bucket == gone and entry.key in keys
                else entry
                for entry in entries
            ]

        parquet = self.parquet
        if parquet is not msgspec.UNSET:
            parquet = msgspec.structs.replace(parquet, batches=move(parquet.batches))
        return msgspec.structs.replace(self, batches=move(self.batches), parquet=parquet)

    @property
    def parquet_batches(self) -> Sequence[ManifestEntry]:
        return () if self.parquet is msgspec.UNSET else self.parquet.batches


def manifest(
    event_type: str,
    hour: Hour,
    sealing: int,
    entries: Iterable[ManifestEntry],
    open_sources: Sequence[str],
    parquet: Iterable[ManifestEntry] = (),
) -> bytes:
    """All batches of the hour so far and the source-hours still open, as one JSON document.

    The bytes are those of ``Manifest.written``. Entries are iterated twice and never held, so that
    only the document grows with the hour.
    """
    parquet_totals = _totals(parquet)
    frame = Manifest(
        event_type=event_type,
        hour=hour.start.strftime("%Y-%m-%dT%H:%M:%SZ"),
        sealing=sealing,
        open_sources=open_sources,
        totals=_totals(entries),
        batches=(),
        parquet=_Parquet(parquet_totals, ()) if parquet_totals.batches else msgspec.UNSET,
    )
    # No text within the document can be taken for a list: its quotes are escaped.
    head, *tails = frame.written().split(_NO_BATCHES)
    document = BytesIO()
    document.write(head)
    for depth, (listed, tail) in enumerate(zip((entries, parquet), tails, strict=False), start=1):
        _write_list(document, listed, depth)
        document.write(tail)
    return document.getvalue()


def _write_list(document: BytesIO, entries: Iterable[ManifestEntry], depth: int) -> None:
    new_line = b"\n" + b" " * depth
    between = new_line + b" "
    separator = b'"batches": ['
    for entry in entries:
        text = msgspec.json.format(msgspec.json.encode(entry), indent=1)
        document.write(separator + between + text.replace(b"\n", between))
        separator = b","
    document.write(_NO_BATCHES if separator != b"," else new_line + b"]")


def _totals(entries: Iterable[ManifestEntry]) -> _Totals:
    batches = events = usage = size_bytes = 0
    for entry in entries:
        batches += 1
        events += entry.events
        usage += entry.usage
        size_bytes += entry.bytes
    return _Totals(batches, events, usage, size_bytes)
