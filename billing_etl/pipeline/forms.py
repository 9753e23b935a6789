"""The forms in which the events of a sealing leave: JSON lines always, Parquet beside them.

A form is the only thing that sealing asks about bytes and keys; a new one is a class like
``JsonLines`` and its line in ``forms_of``.
"""

from typing import Protocol

from billing_etl.batches import PARQUET_PATH, Batch, Event, LineCutter, ObjectKeys
from billing_etl.events import Envelope, FactChange, envelope_named
from billing_etl.events.columns import COLUMNS, row
from billing_etl.hours import Hour
from billing_etl.settings import Settings
from billing_etl.store.deliveries import BatchKind


class Form(Protocol):
    """Cuts the changes of one sealing, in their order, into objects of one kind.

    Attributes:
        kind: what its objects are kept as.
        envelope: name of the envelope that its objects are kept with.
        keys: where its objects lie.
    """

    @property
    def kind(self) -> BatchKind: ...

    @property
    def envelope(self) -> str: ...

    @property
    def keys(self) -> ObjectKeys: ...

    def add(self, change: FactChange) -> Batch | None:
        """Takes one change more and gives the object that had no room for it."""
        ...

    def finish(self) -> Batch | None:
        """The object under way; None when it holds nothing."""
        ...


class JsonLines:
    """One event per line, in the configured envelope ("Path and limits", "Event")."""

    kind: BatchKind = "events"

    def __init__(self, settings: Settings) -> None:
        self._envelope = envelope_of(settings)
        self.keys = object_keys(settings)
        self._cutter = LineCutter(settings.s3_max_events, settings.s3_max_bytes)

    @property
    def envelope(self) -> str:
        return self._envelope.name

    def add(self, change: FactChange) -> Batch | None:
        tenant = change.account_uuid if self.keys.is_by_tenant else ""
        event = Event(change.event_id, change.usage, change.minute, tenant)
        return self._cutter.add(event, self._envelope.line(change))

    def finish(self) -> Batch | None:
        return self._cutter.finish()


class Parquet:
    """One event per row of typed columns ("Parquet")."""

    kind: BatchKind = "parquet"
    envelope = "parquet"

    def __init__(self, settings: Settings) -> None:
        # Here, as importing pyarrow takes time and memory that others are to be spared.
        from billing_etl.batches.parquet import ParquetCutter

        self.keys = parquet_keys(settings)
        self._cutter = ParquetCutter(COLUMNS)

    def add(self, change: FactChange) -> Batch | None:
        event = Event(change.event_id, change.usage, change.minute)
        return self._cutter.add(event, row(change))

    def finish(self) -> Batch | None:
        return self._cutter.finish()


def forms_of(settings: Settings) -> tuple[Form, ...]:
    """Empty forms for one sealing, as configured; the first one counts.

    Raises:
        UsageError: the path template does not give every hour and batch a place of its own.
    """
    lines = JsonLines(settings)
    return (lines, Parquet(settings)) if "parquet" in settings.s3_formats else (lines,)


def envelope_of(settings: Settings) -> Envelope:
    """The envelope of new lines; a sealed batch is read by the one it was sealed with."""
    return envelope_named(settings.envelope, settings.product)


def object_keys(settings: Settings) -> ObjectKeys:
    """Where objects of JSON lines and manifests lie, as configured.

    Raises:
        UsageError: the path template does not give every hour and batch a place of its own.
    """
    template = settings.s3_path_template or envelope_of(settings).path_template
    return ObjectKeys(settings.s3_prefix, template)


def parquet_keys(settings: Settings) -> ObjectKeys:
    """Where Parquet files lie: one layout, that engines can project without a catalogue."""
    return ObjectKeys(settings.s3_prefix, PARQUET_PATH)


def directories(settings: Settings, event_type: str, hour: Hour) -> tuple[str, ...]:
    """Every directory that is the hour's own, also of forms that are off now."""
    keys = (object_keys(settings), parquet_keys(settings))
    return tuple(each.directory(event_type, hour) for each in keys)
