"""``cloudevents``: CloudEvents 1.0, structured JSON, one per line (delivery contract, "Envelopes").

Rules of that specification that matter here: ``source`` and ``id`` together name an event once,
``time`` is RFC 3339, and what is measured stands in ``data``.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import msgspec

from billing_etl.events.changes import FactChange
from billing_etl.events.envelope import HOURLY_PATH, ReadEvent, decoded, timestamp


class _Data(msgspec.Struct, frozen=True):
    value: int
    unit: str
    product: str
    region: str
    resource_type: str
    uplink_bytes: int | msgspec.UnsetType
    downlink_bytes: int | msgspec.UnsetType
    node_id: str
    env: str
    inbound_tag: str
    source_id: str
    revision: int
    value_total: int | msgspec.UnsetType
    corrects: str | msgspec.UnsetType


class _Event(msgspec.Struct, frozen=True):
    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    data: _Data


class _ReadData(msgspec.Struct, frozen=True):
    value: int


class _ReadLine(msgspec.Struct, frozen=True):
    specversion: str
    id: str
    subject: str
    data: _ReadData


_encoder: Final = msgspec.json.Encoder()
_reader: Final = msgspec.json.Decoder(_ReadLine)


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """``product``: BILLING_PRODUCT."""

    product: str

    @property
    def name(self) -> str:
        return "cloudevents"

    @property
    def path_template(self) -> str:
        return HOURLY_PATH

    def line(self, change: FactChange) -> bytes:
        corrected_id = change.corrected_id
        event = _Event(
            specversion="1.0",
            id=change.event_id,
            source=f"urn:billing-etl:{quote(change.source_id, safe='')}",
            type=change.event_type,
            subject=change.account_uuid,
            time=timestamp(change.minute),
            datacontenttype="application/json",
            data=_Data(
                value=change.usage,
                unit=change.unit,
                product=self.product,
                region=change.region,
                resource_type=change.resource_type,
                uplink_bytes=change.uplink_change if change.has_parts else msgspec.UNSET,
                downlink_bytes=change.downlink_change if change.has_parts else msgspec.UNSET,
                node_id=change.node_id,
                env=change.env,
                inbound_tag=change.inbound_tag,
                source_id=change.source_id,
                revision=change.revision,
                value_total=msgspec.UNSET if corrected_id is None else change.usage_total,
                corrects=msgspec.UNSET if corrected_id is None else corrected_id,
            ),
        )
        return _encoder.encode(event) + b"\n"

    def read(self, line: bytes) -> ReadEvent:
        event = decoded(_reader, line, f"one of {self.name} with id, subject and data.value")
        return ReadEvent(event.id, event.subject, event.data.value)
