"""Facts and changes of facts in the forms that downstream receives; deterministic bytes.

An envelope turns one ``FactChange`` into one line, ``columns`` turns it into one row. A new
envelope is a module with a class like ``BillingEvent`` and its line in ``ENVELOPES``.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from billing_etl.errors import TerminalError
from billing_etl.events.billing_event import BillingEvent
from billing_etl.events.changes import FactChange, event_id, fact_id
from billing_etl.events.cloud_event import CloudEvent
from billing_etl.events.envelope import Envelope, ReadEvent
from billing_etl.events.usage_event import UsageEvent

ENVELOPES: Final[Mapping[str, Callable[[str], Envelope]]] = MappingProxyType(
    {"billing_event": BillingEvent, "cloudevents": CloudEvent, "usage_event": UsageEvent}
)


def envelope_named(name: str, product: str) -> Envelope:
    """The envelope of that name, as BILLING_ENVELOPE or a sealed batch gives it.

    Args:
        product: BILLING_PRODUCT, for new lines; reading does without it.

    Raises:
        TerminalError: no code here knows the name; a newer version sealed the batch.
    """
    if name not in ENVELOPES:
        raise TerminalError(
            f"events: expected an envelope of {', '.join(ENVELOPES)}, got {name!r}; "
            "run the version that sealed it"
        )
    return ENVELOPES[name](product)


__all__ = [
    "ENVELOPES",
    "BillingEvent",
    "CloudEvent",
    "Envelope",
    "FactChange",
    "ReadEvent",
    "UsageEvent",
    "envelope_named",
    "event_id",
    "fact_id",
]
