"""Facts and changes of facts in the form that downstream receives; deterministic bytes.

An envelope turns one ``FactChange`` into one line. ``billing_event`` is the only envelope now;
another one is another class with the same three members. Source of the rules: delivery contract,
"Event" and "Corrections".
"""

import uuid
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

import msgspec

from billing_etl.errors import MismatchError
from billing_etl.hours import minute_start

# Fixed for ever: another namespace would give every delivered event a second id.
_EVENT_NAMESPACE: Final = uuid.UUID("6f1d7a52-0b3e-5c49-9e0f-4f6d8a3c2b71")


@dataclass(frozen=True, slots=True)
class FactChange:
    """What one sealing says about one fact.

    Attributes:
        event_type: the meter's name; its unit is the unit of every quantity here.
        minute: minutes since 1970.
        uplink_change, downlink_change: signed difference to the state that was sealed before;
            the whole quantity at revision 1.
        uplink_total, downlink_total: the fact as it stands after this change.
        revision: counts sealings of this fact, 1 at the first.
        corrects: revision of the event that this one corrects; None at the first sealing.
    """

    source_id: str
    env: str
    node_id: str
    account_uuid: str
    inbound_tag: str
    event_type: str
    resource_type: str
    region: str
    minute: int
    uplink_change: int
    downlink_change: int
    uplink_total: int
    downlink_total: int
    revision: int
    corrects: int | None

    @property
    def usage(self) -> int:
        """Signed; a consumer who keeps each id once and sums ``usage`` is right."""
        return self.uplink_change + self.downlink_change

    def event_id(self, revision: int | None = None) -> str:
        """The id of this change, or of the change of the same fact at another revision."""
        return event_id(
            self.source_id,
            self.env,
            self.node_id,
            self.account_uuid,
            self.inbound_tag,
            self.event_type,
            self.minute,
            self.revision if revision is None else revision,
        )


def event_id(
    source_id: str,
    env: str,
    node_id: str,
    account_uuid: str,
    inbound_tag: str,
    event_type: str,
    minute: int,
    revision: int,
) -> str:
    """The same change of a fact always has the same id, whatever run or machine makes it.

    A JSON array is an unambiguous encoding: no joining of parts can make two facts equal.
    """
    name = _encoder.encode(
        [source_id, env, node_id, account_uuid, inbound_tag, event_type, minute, revision]
    )
    return str(uuid.uuid5(_EVENT_NAMESPACE, name.decode()))


@dataclass(frozen=True, slots=True)
class ReadEvent:
    """What reconciliation reads back from a line; ``usage`` is signed."""

    event_id: str
    resource_id: str
    usage: int


class Envelope(Protocol):
    """How one change becomes one line, and is read back from it."""

    @property
    def name(self) -> str: ...

    def line(self, change: FactChange) -> bytes:
        """UTF-8, newline-terminated, the same bytes for the same change."""
        ...

    def read(self, line: bytes) -> ReadEvent:
        """Raises MismatchError when the line is not an event of this envelope."""
        ...


class _Properties(msgspec.Struct, frozen=True):
    usage: int
    region: str
    resource_type: str
    resource_id: str
    uplink_bytes: int
    downlink_bytes: int
    node_id: str
    env: str
    inbound_tag: str
    source_id: str
    revision: int
    usage_total: int | msgspec.UnsetType = msgspec.UNSET
    corrects: str | msgspec.UnsetType = msgspec.UNSET


class _Event(msgspec.Struct, frozen=True):
    id: str
    timestamp: str
    product: str
    event_type: str
    properties: _Properties


class _ReadProperties(msgspec.Struct, frozen=True):
    usage: int
    resource_id: str


class _ReadLine(msgspec.Struct, frozen=True):
    id: str
    properties: _ReadProperties


_encoder: Final = msgspec.json.Encoder()
_reader: Final = msgspec.json.Decoder(_ReadLine)


@dataclass(frozen=True, slots=True)
class BillingEvent:
    """The default envelope (delivery contract, "Event"). ``product``: BILLING_PRODUCT."""

    product: str

    @property
    def name(self) -> str:
        return "billing_event"

    def line(self, change: FactChange) -> bytes:
        is_correction = change.corrects is not None
        event = _Event(
            id=change.event_id(),
            timestamp=_timestamp(change.minute),
            product=self.product,
            event_type=change.event_type,
            properties=_Properties(
                usage=change.usage,
                region=change.region,
                resource_type=change.resource_type,
                resource_id=change.account_uuid,
                uplink_bytes=change.uplink_change,
                downlink_bytes=change.downlink_change,
                node_id=change.node_id,
                env=change.env,
                inbound_tag=change.inbound_tag,
                source_id=change.source_id,
                revision=change.revision,
                usage_total=change.uplink_total + change.downlink_total
                if is_correction
                else msgspec.UNSET,
                corrects=change.event_id(change.corrects) if is_correction else msgspec.UNSET,
            ),
        )
        return _encoder.encode(event) + b"\n"

    def read(self, line: bytes) -> ReadEvent:
        try:
            event = _reader.decode(line)
        except msgspec.MsgspecError as error:
            raise MismatchError(
                f"events: expected a {self.name} with id, resource_id and usage, got a line "
                f"that is none ({error})"
            ) from None
        return ReadEvent(event.id, event.properties.resource_id, event.properties.usage)


@lru_cache(maxsize=256)
def _timestamp(minute: int) -> str:
    return minute_start(minute).strftime("%Y-%m-%dT%H:%M:%SZ")
