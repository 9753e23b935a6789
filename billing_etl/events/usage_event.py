"""``usage_event``: the metering envelope, partitioned by date and tenant.

Its rules forbid no negative ``quantity``: a correction is one more event of the same
``correlation_id`` with the signed difference. Keep each ``idempotency_key`` once and sum
``quantity`` (delivery contract, "Event").
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from billing_etl.events.changes import FactChange
from billing_etl.events.envelope import ReadEvent, decoded, timestamp

# The hour stays a directory of its own: manifests and listings are per hour in every layout.
TENANT_PATH: Final = (
    "{event_type}/date={year}-{month}-{day}/hour={hour}/tenant_id={tenant}/{batch}.jsonl"
)


class _Event(msgspec.Struct, frozen=True):
    schema_version: str
    idempotency_key: str
    tenant_id: str
    module_id: str
    facility_id: str
    event_type: str
    quantity: int
    resource_units: int
    resource_unit_type: str
    environment: str
    timestamp: str
    correlation_id: str


class _ReadLine(msgspec.Struct, frozen=True):
    schema_version: str
    idempotency_key: str
    tenant_id: str
    quantity: int


_encoder: Final = msgspec.json.Encoder()
_reader: Final = msgspec.json.Decoder(_ReadLine)


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """``product``: BILLING_PRODUCT; product and inbound tag together are the module."""

    product: str

    @property
    def name(self) -> str:
        return "usage_event"

    @property
    def path_template(self) -> str:
        return TENANT_PATH

    def line(self, change: FactChange) -> bytes:
        usage = change.usage
        event = _Event(
            schema_version="1.0",
            idempotency_key=change.event_id,
            tenant_id=change.account_uuid,
            module_id=f"{self.product}/{change.inbound_tag}",
            facility_id=change.node_id,
            event_type=change.event_type,
            # One unit of quantity is one resource unit: a sum of either is the usage.
            quantity=usage,
            resource_units=usage,
            resource_unit_type=change.unit,
            environment=change.env,
            timestamp=timestamp(change.minute),
            correlation_id=change.fact_id,
        )
        return _encoder.encode(event) + b"\n"

    def read(self, line: bytes) -> ReadEvent:
        expected = f"a {self.name} with idempotency_key, tenant_id and quantity"
        event = decoded(_reader, line, expected)
        return ReadEvent(event.idempotency_key, event.tenant_id, event.quantity)
