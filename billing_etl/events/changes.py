"""What a sealing says about a fact, and the ids that it bears in every form.

Source of the rules: delivery contract, "Event" and "Corrections".
"""

import hashlib
import uuid
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec

# Fixed for ever: another namespace would give every delivered event a second id.
_EVENT_NAMESPACE: Final = uuid.UUID("6f1d7a52-0b3e-5c49-9e0f-4f6d8a3c2b71")
_encoder: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class FactChange:
    """What one sealing says about one fact.

    Attributes:
        event_type: the meter's name.
        unit: of every quantity here, such as ``byte``; it is the meter's.
        minute: minutes since 1970.
        uplink_change, downlink_change: signed difference to the state that was sealed before;
            the whole quantity at revision 1. A meter of one part uses uplink.
        uplink_total, downlink_total: the fact as it stands after this change.
        revision: counts sealings of this fact, 1 at the first.
        corrects: revision of the event that this one corrects; None at the first sealing.
        former_fact_id, former_corrected_id: ids as they were sent, of an account that has been
            erased since and was called otherwise; None: they are made of what is here.
    """

    source_id: str
    env: str
    node_id: str
    account_uuid: str
    inbound_tag: str
    event_type: str
    unit: str
    resource_type: str
    region: str
    minute: int
    uplink_change: int
    downlink_change: int
    uplink_total: int
    downlink_total: int
    revision: int
    corrects: int | None
    former_fact_id: str | None = None
    former_corrected_id: str | None = None

    @property
    def usage(self) -> int:
        """Signed; a consumer who keeps each id once and sums ``usage`` is right."""
        return self.uplink_change + self.downlink_change

    @property
    def usage_total(self) -> int:
        """The fact as it stands after this change."""
        return self.uplink_total + self.downlink_total

    @property
    def has_parts(self) -> bool:
        """Whether up and down are told apart: bytes go two ways, other things are counted once."""
        return self.unit == "byte"

    @property
    def event_id(self) -> str:
        """The id of this change, the same in every envelope."""
        return self._id_at(self.revision)

    @property
    def corrected_id(self) -> str | None:
        """The id of the change that this one corrects; None at the first sealing."""
        if self.corrects is None:
            return None
        return self.former_corrected_id or self._id_at(self.corrects)

    @property
    def fact_id(self) -> str:
        """What all changes of the same fact have in common, and no other."""
        return self.former_fact_id or fact_id(*self._fact)

    @property
    def _fact(self) -> tuple[str, str, str, str, str, str, int]:
        return (
            self.source_id,
            self.env,
            self.node_id,
            self.account_uuid,
            self.inbound_tag,
            self.event_type,
            self.minute,
        )

    def _id_at(self, revision: int) -> str:
        return event_id(*self._fact, revision)


def fact_id(
    source_id: str,
    env: str,
    node_id: str,
    account_uuid: str,
    inbound_tag: str,
    event_type: str,
    minute: int,
) -> str:
    """What all changes of the same fact have in common, and no other."""
    return _named(source_id, env, node_id, account_uuid, inbound_tag, event_type, minute)


# A sealing asks for the id of the same change once for its batch and once for each form.
@lru_cache(maxsize=4)
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
    """The same change of a fact always has the same id, whatever run or machine makes it."""
    return _named(source_id, env, node_id, account_uuid, inbound_tag, event_type, minute, revision)


def _named(*parts: str | int) -> str:
    """The UUID of version 5 of the parts, as ``uuid.uuid5`` gives it in more than twice the time.

    A JSON array is an unambiguous encoding: no joining of parts can make two facts equal.
    """
    name = _EVENT_NAMESPACE.bytes + _encoder.encode(parts)
    octets = bytearray(hashlib.sha1(name, usedforsecurity=False).digest()[:16])
    octets[6] = octets[6] & 0x0F | 0x50  # version
    octets[8] = octets[8] & 0x3F | 0x80  # variant
    text = octets.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
