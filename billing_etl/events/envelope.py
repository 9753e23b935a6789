"""What an envelope is: how one change becomes one line, and is read back from it."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol, TypeVar

import msgspec

from billing_etl.errors import MismatchError
from billing_etl.events.changes import FactChange
from billing_etl.hours import minute_start

# Hourly partitions by event time; envelopes that ask for no other layout share it.
HOURLY_PATH: Final = "{event_type}/{year}/{month}/{day}/{hour}/{batch}.jsonl"
Line = TypeVar("Line")


@dataclass(frozen=True, slots=True)
class ReadEvent:
    """What reconciliation reads back from a line; ``usage`` is signed."""

    event_id: str
    resource_id: str
    usage: int


class Envelope(Protocol):
    """One form of events as JSON lines.

    Attributes:
        name: stable; a batch is kept under the name that it was sealed with.
        path_template: where its objects lie unless BILLING_S3_PATH_TEMPLATE says otherwise. A
            template with ``{tenant}`` also says that accounts do not share an object.
    """

    @property
    def name(self) -> str: ...

    @property
    def path_template(self) -> str: ...

    def line(self, change: FactChange) -> bytes:
        """UTF-8, newline-terminated, the same bytes for the same change."""
        ...

    def read(self, line: bytes) -> ReadEvent:
        """Raises MismatchError when the line is not an event of this envelope."""
        ...


def decoded(decoder: msgspec.json.Decoder[Line], line: bytes, expected: str) -> Line:
    """The line as the decoder knows it.

    Raises:
        MismatchError: it is not; ``expected`` says what would have been right.
    """
    try:
        return decoder.decode(line)
    except msgspec.MsgspecError as error:
        raise MismatchError(
            f"events: expected {expected}, got a line that is none ({error})"
        ) from None


@lru_cache(maxsize=256)
def timestamp(minute: int) -> str:
    """The start of a minute since 1970, RFC 3339 in UTC."""
    return minute_start(minute).strftime("%Y-%m-%dT%H:%M:%SZ")
