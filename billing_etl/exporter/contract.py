"""What one answer of an exporter means: its page, its bad samples, whether to ask again.

Pure: bytes and headers in, records out. A snapshot takes the fast path, one typed decode and
checks over whole columns. One that the fast path dislikes is read again sample by sample, so
that only the bad samples are put aside (C11).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
import numpy as np

from billing_etl.errors import RetryableError, TerminalError
from billing_etl.hours import NS_PER_SECOND, parse_instant_ns
from billing_etl.masking import without_emails
from billing_etl.records import BadSample, Int64Array, Snapshot

MAX_TOTAL_BYTES: Final = 2**63 - 1
MAX_TAG_BYTES: Final = 255
MAX_NAME_BYTES: Final = 255
MAX_RAW_TEXT: Final = 20_000

QUARANTINE_REASONS: Final[dict[str, str]] = {
    "sample_not_object": "the sample is no JSON object",
    "field_missing": "a field other than email is missing",
    "uuid_malformed": "the uuid is not text in 8-4-4-4-12 hexadecimal form",
    "tag_not_text": "the inbound tag is not text, or text that PostgreSQL cannot store",
    "tag_too_long": "the inbound tag is longer than 255 bytes of UTF-8",
    "total_not_integer": "a total is not written as a whole number",
    "total_negative": "a total is negative",
    "total_too_large": "uplink + downlink is beyond 2^63-1",
}

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_INTEGER: Final = re.compile(rb"-?[0-9]+")
# One JSON escape: a surrogate pair, a surrogate alone, or any other.
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
_KNOWN_LIMIT: Final = 1_000_000


# --- answers: use, retry or fail ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Use:
    """The body is a page."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Ask again, not before ``after_seconds`` when the exporter named a time."""

    got: str
    after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """Asking again would give the same; ``remedy`` is what a person can do."""

    got: str
    remedy: str


Verdict: TypeAlias = Use | Retry | Fail


def classify_answer(
    status: int, content_type: str, retry_after: str, body: bytes, now_ns: int
) -> Verdict:
    """Says what to do with an answer (exporter contract, point 7 and "What the client does").

    Args:
        status: HTTP status code.
        content_type: the ``Content-Type`` header, empty when absent.
        retry_after: the ``Retry-After`` header: seconds, an HTTP date, or empty.
        body: the body or its beginning; only its first line is quoted, and shortened.
        now_ns: the present instant, to read a date in ``Retry-After``.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    got = f"{status} {media_type or 'without content type'}"
    if text := short_text(body) if media_type != "text/html" else "":
        got = f"{got} {text!r}"
    if status == 429 or 500 <= status <= 599:
        return Retry(f"status {got}", _retry_after_seconds(retry_after, now_ns))
    if status == 200 and media_type == "application/json":
        return Use()
    if status == 200:
        return Fail(f"status {got}", "wrong port or path? check base_url")
    if 300 <= status <= 399:
        return Fail(
            f"a redirect, status {status}",
            "redirects are not followed, as the token must not travel; correct base_url",
        )
    if status in {401, 403}:
        return Fail(f"status {got}", "check the source's token")
    if status == 404:
        return Fail(f"status {got}", "check base_url")
    return Fail(f"status {got}", "check base_url and the exporter's version")


def short_text(body: bytes) -> str:
    """The first line of a body, at most 100 characters, with email addresses masked."""
    lines = body[:1000].decode("utf-8", "replace").strip().splitlines()
    line = without_emails(lines[0]) if lines else ""
    return "".join(c if c.isprintable() else "?" for c in line)[:100]


def _retry_after_seconds(header: str, now_ns: int) -> float | None:
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        instant = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, instant.timestamp() - now_ns / NS_PER_SECOND)


# --- pages -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: snapshots in served order, and whether the exporter says that there are more."""

    snapshots: list[Snapshot]
    has_more: bool
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class _Layout:
    """The uuids and tags of a snapshot, all of them usable, and their accounts.

    Where uuids are in lower case already, they are the accounts: one list.
    """

    uuids: list[str]
    tags: list[str]
    accounts: list[str]


@dataclass(slots=True)
class KnownText:
    """Uuids and tags that were checked before, so that each is checked once per client.

    ``layouts``: the latest of each node; its next snapshot mostly names the same ones in the same
    order, and is then given the same lists.
    """

    accounts: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    layouts: dict[tuple[str, str], _Layout] = field(default_factory=dict)

    def account(self, uuid: str) -> str | None:
        """The uuid in lower case, or None when it is not in 8-4-4-4-12 form."""
        if not _UUID.fullmatch(uuid):
            return None
        _keep_bounded(self.accounts)
        return self.accounts.setdefault(uuid, uuid if uuid == uuid.lower() else uuid.lower())

    def tag(self, tag: str) -> str | None:
        """The tag, or None when it cannot be used; a new one is checked and remembered."""
        known = self.tags.get(tag)
        if known is not None:
            return known
        if _tag_reason(tag) is not None:
            return None
        _keep_bounded(self.tags)
        return self.tags.setdefault(tag, tag)


def _keep_bounded(known: dict[Any, Any]) -> None:
    if len(known) >= _KNOWN_LIMIT:
        known.clear()


class _Sample(msgspec.Struct, gc=False):
    # The email is not a field: it is never decoded.
    uuid: str
    inbound_tag: str
    uplink_bytes_total: int
    downlink_bytes_total: int


class _SnapshotHead(msgspec.Struct, gc=False):
    collected_at: str
    node_id: str
    env: str


class _TypedSnapshot(_SnapshotHead, gc=False):
    samples: list[_Sample] | None = None


class _RawSnapshot(_SnapshotHead, gc=False):
    samples: list[msgspec.Raw] | None = None


class _AnySample(msgspec.Struct, gc=False):
    # As a sample, with whatever was served; what is missing is null, so no text or number.
    uuid: Any = None
    inbound_tag: Any = None
    uplink_bytes_total: Any = None
    downlink_bytes_total: Any = None


class _AnySamples(msgspec.Struct, gc=False):
    samples: list[_AnySample | list[Any] | str | float | bool | None] | None = None


class _ServedPage(msgspec.Struct, gc=False):
    # Required, though it may be null: another service's JSON must not pass as an empty page.
    snapshots: list[msgspec.Raw] | None
    has_more: bool = False
    next_cursor: str | None = None


_page: Final = msgspec.json.Decoder(_ServedPage)
_typed_snapshot: Final = msgspec.json.Decoder(_TypedSnapshot)
_raw_snapshot: Final = msgspec.json.Decoder(_RawSnapshot)
_any_samples: Final = msgspec.json.Decoder(_AnySamples)
_any_sample: Final = msgspec.json.Decoder(_AnySample)
_raw_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text: Final = msgspec.json.Decoder(str)


T = TypeVar("T")


class _DislikedError(Exception):
    """The fast path met something that only the slow path can judge."""


def decode_page(body: bytes | bytearray, known: KnownText | None = None) -> Page:
    """Reads one page; bad samples are put aside, everything else must be readable.

    ``snapshots: null`` is no snapshot, ``samples: null`` an empty snapshot (exporter contract,
    point 5). Node and environment are those of each snapshot (C2).

    Args:
        body: the whole body of a 200 answer.
        known: uuids and tags checked in earlier pages of the same client.

    Raises:
        RetryableError: the body ends in the middle: it was cut on its way.
        TerminalError: the body is not the page that was expected.
    """
    known = known if known is not None else KnownText()
    page = _decoded(_page, body)
    # One by one: what a snapshot is decoded into takes several times its bytes.
    snapshots = [_snapshot_of(raw, known) for raw in page.snapshots or ()]
    return Page(snapshots, page.has_more, page.next_cursor)


def _snapshot_of(raw: msgspec.Raw, known: KnownText) -> Snapshot:
    try:
        return _fast_snapshot(_typed_snapshot.decode(raw), known)
    except (_DislikedError, ValueError, RecursionError):
        return _slow_snapshot(bytes(raw), known)


def _fast_snapshot(served: _TypedSnapshot, known: KnownText) -> Snapshot:
    samples = served.samples or []
    try:
        uplinks = np.array([sample.uplink_bytes_total for sample in samples], dtype=np.int64)
        downlinks = np.array([sample.downlink_bytes_total for sample in samples], dtype=np.int64)
    except OverflowError:
        raise _DislikedError from None
    layout = _layout(served, samples, known)
    # Stricter than C11's bound on each sum, and decided by passes in C.
    if samples and (
        uplinks.min() < 0
        or downlinks.min() < 0
        or int(uplinks.max()) + int(downlinks.max()) > MAX_TOTAL_BYTES
    ):
        raise _DislikedError
    return _snapshot(served, layout.accounts, layout.tags, uplinks, downlinks, [])


def _layout(served: _SnapshotHead, samples: list[_Sample], known: KnownText) -> _Layout:
    uuids = [sample.uuid for sample in samples]
    tags = [sample.inbound_tag for sample in samples]
    node = (served.env, served.node_id)
    layout = known.layouts.get(node)
    if layout is not None and layout.uuids == uuids and layout.tags == tags:
        return layout
    # Every text is held once, however many nodes name it.
    accounts = _all([known.accounts.get(uuid) or known.account(uuid) for uuid in uuids])
    tags = _all([known.tag(tag) for tag in tags])
    _keep_bounded(known.layouts)
    layout = _Layout(accounts if accounts == uuids else uuids, tags, accounts)
    known.layouts[node] = layout
    return layout


def _all(texts: list[str | None]) -> list[str]:
    usable = [text for text in texts if text is not None]
    if len(usable) < len(texts):
        raise _DislikedError
    return usable


def _slow_snapshot(body: bytes, known: KnownText) -> Snapshot:
    served = _decoded(_raw_snapshot, body)
    raws = served.samples or []
    samples: list[Any]
    try:
        samples = list(_any_samples.decode(body).samples or ())
    except (ValueError, RecursionError):  # not even that: each by itself
        samples = [_read_sample(raw) for raw in raws]
    accounts: list[str] = []
    tags: list[str] = []
    uplinks: list[int] = []
    downlinks: list[int] = []
    bad: list[BadSample] = []
    for sample, raw in zip(samples, raws, strict=True):
        account, tag = _usable_names(sample, known)
        if account is None or tag is None:
            bad.append(_judge_sample(bytes(raw), known))
            continue
        accounts.append(account)
        tags.append(tag)
        uplinks.append(sample.uplink_bytes_total)
        downlinks.append(sample.downlink_bytes_total)
    return _snapshot(served, accounts, tags, uplinks, downlinks, bad)


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes | bytearray) -> T:
    expected = "a JSON page of snapshots"
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError):
        pass
    try:
        # The decoder refuses the whole for a lone surrogate; as NUL it is one bad sample.
        return decoder.decode(_ESCAPE.sub(_lone_surrogate_to_nul, body))
    except msgspec.ValidationError as error:
        raise TerminalError(f"expected {expected}, got another shape ({error})") from None
    except (ValueError, RecursionError) as error:
        if "truncated" in str(error):
            raise RetryableError(
                f"expected {expected}, got one cut off after {len(body)} bytes"
            ) from None
        # The decoder's text tells a position or a byte, never content.
        raise TerminalError(f"expected {expected}, got something else ({error})") from None


def _lone_surrogate_to_nul(escape: re.Match[bytes]) -> bytes:
    return rb"\u0000" if escape["lone"] else escape[0]


def _snapshot(
    served: _SnapshotHead,
    accounts: list[str],
    tags: list[str],
    uplinks: Int64Array | Sequence[int],
    downlinks: Int64Array | Sequence[int],
    bad: list[BadSample],
) -> Snapshot:
    try:
        instant_ns = parse_instant_ns(served.collected_at)
    except ValueError:
        raise TerminalError(
            f"expected an RFC 3339 instant as collected_at, got {served.collected_at[:40]!r}"
        ) from None
    for name, value in (("node_id", served.node_id), ("env", served.env)):
        if "\0" in value or len(value.encode()) > MAX_NAME_BYTES:
            raise TerminalError(
                f"expected a {name} of at most {MAX_NAME_BYTES} bytes without NUL, "
                f"got {value[:40]!r}"
            )
    return Snapshot(instant_ns, served.env, served.node_id, accounts, tags, uplinks, downlinks, bad)


# --- single samples ----------------------------------------------------------------------------


def _read_sample(raw: msgspec.Raw) -> _AnySample | None:
    try:
        return _any_sample.decode(raw)
    except (ValueError, RecursionError):
        return None


def _usable_names(sample: Any, known: KnownText) -> tuple[str | None, str | None]:
    """Account and tag of a sample; without one of them C11 has something against it."""
    if type(sample) is not _AnySample:
        return None, None
    up, down = sample.uplink_bytes_total, sample.downlink_bytes_total
    # By type, as true is an int, too.
    if type(up) is not int or type(down) is not int:
        return None, None
    if up < 0 or down < 0 or up + down > MAX_TOTAL_BYTES:
        return None, None
    uuid, tag = sample.uuid, sample.inbound_tag
    if type(uuid) is not str or type(tag) is not str:
        return None, None
    return known.accounts.get(uuid) or known.account(uuid), known.tags.get(tag) or known.tag(tag)


def _judge_sample(raw: bytes, known: KnownText) -> BadSample:
    """Says which rule of C11 a sample breaks that cannot be used."""
    try:
        parts = _raw_fields.decode(raw)
    except ValueError:
        return BadSample("sample_not_object", _raw_text(raw), None, None)
    uuid = _read_text(parts.get("uuid"))
    account = None if uuid is None else known.account(uuid)
    tag = _read_text(parts.get("inbound_tag"))
    tag_reason = "tag_not_text" if tag is None else _tag_reason(tag)
    if any(name not in parts for name in _Sample.__struct_fields__):
        reason = "field_missing"
    elif account is None:
        reason = "uuid_malformed"
    else:
        reason = tag_reason or _totals_reason(
            bytes(parts["uplink_bytes_total"]), bytes(parts["downlink_bytes_total"])
        )
    without_email = {name: value for name, value in parts.items() if name.lower() != "email"}
    raw_text = _raw_text(msgspec.json.encode(without_email))
    return BadSample(reason, raw_text, account, None if tag_reason else tag)


def _read_text(raw: msgspec.Raw | None) -> str | None:
    try:
        return None if raw is None else _text.decode(raw)
    except ValueError:
        return None


def _tag_reason(tag: str) -> str | None:
    if "\0" in tag:
        return "tag_not_text"
    return "tag_too_long" if len(tag.encode()) > MAX_TAG_BYTES else None


def _totals_reason(up: bytes, down: bytes) -> str:
    # Spelling decides: 1024.0, 1e3, true and "7" are no counters, and digits are never rounded.
    if not (_INTEGER.fullmatch(up) and _INTEGER.fullmatch(down)):
        return "total_not_integer"
    if up.startswith(b"-") or down.startswith(b"-"):
        return "total_negative"
    return "total_too_large"


def _raw_text(raw: bytes) -> str:
    """The sample's JSON text as it was spelled, shortened, without anything like an email."""
    return without_emails(raw.decode("utf-8", "replace"))[:MAX_RAW_TEXT]
