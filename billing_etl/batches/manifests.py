"""Manifests: what of an hour and event type is whole (delivery contract, "Manifest")."""

from collections.abc import Collection, Sequence

import msgspec

from billing_etl.errors import MismatchError
from billing_etl.hours import Hour


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
    entries: Sequence[ManifestEntry],
    open_sources: Sequence[str],
    parquet: Sequence[ManifestEntry] = (),
) -> bytes:
    """All batches of the hour so far and the source-hours still open, as one JSON document."""
    document = Manifest(
        event_type=event_type,
        hour=hour.start.strftime("%Y-%m-%dT%H:%M:%SZ"),
        sealing=sealing,
        open_sources=open_sources,
        totals=_totals(entries),
        batches=entries,
        parquet=_Parquet(_totals(parquet), parquet) if parquet else msgspec.UNSET,
    )
    return document.written()


def _totals(entries: Sequence[ManifestEntry]) -> _Totals:
    return _Totals(
        batches=len(entries),
        events=sum(entry.events for entry in entries),
        usage=sum(entry.usage for entry in entries),
        bytes=sum(entry.bytes for entry in entries),
    )
