"""``billing_event``, the default envelope; its bytes never change (delivery contract, "Event")."""

from dataclasses import dataclass
from typing import Final

import msgspec

from billing_etl.events.changes import FactChange
from billing_etl.events.envelope import HOURLY_PATH, ReadEvent, decoded, timestamp


class _Properties(msgspec.Struct, frozen=True):
    usage: int
    region: str
    resource_type: str
    resource_id: str
    uplink_bytes: int | msgspec.UnsetType
    downlink_bytes: int | msgspec.UnsetType
    node_id: str
    env: str
    inbound_tag: str
    source_id: str
    revision: int
    usage_total: int | msgspec.UnsetType
    corrects: str | msgspec.UnsetType


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
    """``product``: BILLING_PRODUCT."""

    product: str

    @property
    def name(self) -> str:
        return "billing_event"

    @property
    def path_template(self) -> str:
        return HOURLY_PATH

    def line(self, change: FactChange) -> bytes:
        corrected_id = change.corrected_id
        event = _Event(
            id=change.event_id,
            timestamp=timestamp(change.minute),
            product=self.product,
            event_type=change.event_type,
            properties=_Properties(
                usage=change.usage,
                region=change.region,
                resource_type=change.resource_type,
                resource_id=change.account_uuid,
                uplink_bytes=change.uplink_change if change.has_parts else msgspec.UNSET,
                downlink_bytes=change.downlink_change if change.has_parts else msgspec.UNSET,
                node_id=change.node_id,
                env=change.env,
                inbound_tag=change.inbound_tag,
                source_id=change.source_id,
                revision=change.revision,
                usage_total=msgspec.UNSET if corrected_id is None else change.usage_total,
                corrects=msgspec.UNSET if corrected_id is None else corrected_id,
            ),
        )
        return _encoder.encode(event) + b"\n"

    def read(self, line: bytes) -> ReadEvent:
        event = decoded(_reader, line, f"a {self.name} with id, resource_id and usage")
        return ReadEvent(event.id, event.properties.resource_id, event.properties.usage)
