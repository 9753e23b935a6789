"""A development exporter: serves a JSON array of snapshots as the recorded exporters do.

Two flavours behave like the two recorded builds (exporter contract, the table): ``nanosecond``
and ``minute``. The store file is read again whenever it changes.
"""

import hmac
import logging
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias
from urllib.parse import parse_qs, urlsplit

import msgspec

from billing_etl.errors import UsageError
from billing_etl.hours import (
    NS_PER_HOUR,
    NS_PER_MINUTE,
    NS_PER_SECOND,
    format_instant_ns,
    parse_instant_ns,
)

Flavour: TypeAlias = Literal["nanosecond", "minute"]
FLAVOURS: Final[tuple[Flavour, ...]] = ("nanosecond", "minute")

_log = logging.getLogger(__name__)
_JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"
# The recorded servers give a length up to here and send chunks beyond it.
_LARGEST_WITH_LENGTH: Final = 2048


@dataclass(frozen=True, slots=True)
class Stored:
    """One snapshot of the store; ``json`` is its text as it is served."""

    instant_ns: int
    node_id: str
    env: str
    json: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content_type: str
    body: bytes


class _Head(msgspec.Struct):
    collected_at: str
    node_id: str
    env: str


class BadRequestError(ValueError):
    """A query that the minute exporter refuses; the message is its answer."""


# --- what is stored ----------------------------------------------------------------------------


@dataclass(slots=True)
class Store:
    """The snapshots of a file, in time order, read again when the file changes."""

    path: Path
    flavour: Flavour
    _version: tuple[int, int, int] | None = None
    _snapshots: list[Stored] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def snapshots(self) -> list[Stored]:
        """What the file holds now.

        Raises:
            UsageError: the file cannot be read as a JSON array of snapshots.
        """
        with self._lock:
            try:
                state = self.path.stat()
                version = (state.st_mtime_ns, state.st_size, state.st_ino)
                if version != self._version:
                    raw = msgspec.json.decode(self.path.read_bytes(), type=list[msgspec.Raw])
                    self._snapshots = _stored(raw, self.flavour)
                    self._version = version
            except (OSError, ValueError) as error:
                raise UsageError(
                    f"store {self.path}: expected a JSON array of snapshots, got {error}"
                ) from None
            return self._snapshots


def _stored(texts: Sequence[msgspec.Raw], flavour: Flavour) -> list[Stored]:
    stored = []
    for text in texts:
        head = msgspec.json.decode(text, type=_Head)
        instant_ns = parse_instant_ns(head.collected_at)
        stored.append(Stored(instant_ns, head.node_id, head.env, bytes(text)))
    stored.sort(key=lambda snapshot: snapshot.instant_ns)
    return stored if flavour == "nanosecond" else _by_minute(stored)


def _by_minute(stored: list[Stored]) -> list[Stored]:
    """The minute exporter keeps a node's last reading of each minute, under the whole minute."""
    latest: dict[tuple[int, str, str], Stored] = {}
    for snapshot in stored:
        minute_ns = snapshot.instant_ns // NS_PER_MINUTE * NS_PER_MINUTE
        parts = msgspec.json.decode(snapshot.json, type=dict[str, msgspec.Raw])
        parts["collected_at"] = msgspec.Raw(msgspec.json.encode(format_instant_ns(minute_ns)))
        latest[minute_ns, snapshot.node_id, snapshot.env] = Stored(
            minute_ns, snapshot.node_id, snapshot.env, msgspec.json.encode(parts)
        )
    return sorted(latest.values(), key=lambda snapshot: snapshot.instant_ns)


# --- what is answered --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Window:
    """A window query: both bounds inclusive; only what comes after ``cursor_ns`` is wanted."""

    since_ns: int
    until_ns: int
    cursor_ns: int | None
    limit: int


def answer(store: Store, token: str, target: str, authorization: str) -> Answer:
    """The answer to ``GET target`` as the store's flavour gives it."""
    url = urlsplit(target)
    if url.path == "/healthz":
        return Answer(HTTPStatus.OK, _JSON, b'{"message":"","status":"ok"}\n')
    if url.path not in {"/v1/snapshots/window", "/v1/snapshots/latest"}:
        return _text(HTTPStatus.NOT_FOUND, "404 page not found")
    if not hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode()):
        return _text(HTTPStatus.UNAUTHORIZED, "unauthorized")
    snapshots = store.snapshots()
    if url.path == "/v1/snapshots/latest":
        if not snapshots:
            return _text(HTTPStatus.NOT_FOUND, "no snapshot available")
        return Answer(HTTPStatus.OK, _JSON, snapshots[-1].json + b"\n")
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    try:
        window = (_nanosecond_window if store.flavour == "nanosecond" else _minute_window)(query)
    except BadRequestError as error:
        return _text(HTTPStatus.BAD_REQUEST, str(error))
    return Answer(HTTPStatus.OK, _JSON, _page(snapshots, window, store.flavour))


def _text(status: HTTPStatus, line: str) -> Answer:
    return Answer(status, _TEXT, f"{line}\n".encode())


def _instant_or_none(text: str | None) -> int | None:
    try:
        return None if text is None else parse_instant_ns(text)
    except ValueError:
        return None


def _limit_or_none(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and int(text) > 0 else None


def _nanosecond_window(query: dict[str, str]) -> Window:
    """Everything wrong is silently replaced: since by an hour ago, limit by 1000."""
    now_ns = time.time_ns()
    since_ns = _instant_or_none(query.get("since"))
    until_ns = _instant_or_none(query.get("until"))
    return Window(
        now_ns - NS_PER_HOUR if since_ns is None else since_ns,
        now_ns if until_ns is None else until_ns,
        _instant_or_none(query.get("cursor")),
        min(_limit_or_none(query.get("limit")) or 1000, 1000),
    )


def _minute_window(query: dict[str, str]) -> Window:
    """Everything wrong is refused."""
    since_ns, cursor_ns, limit = (
        _instant_or_none(query.get("since")),
        _instant_or_none(query.get("cursor")),
        _limit_or_none(query.get("limit", "120")),
    )
    until_ns = _instant_or_none(query["until"]) if "until" in query else time.time_ns()
    if since_ns is None:
        raise BadRequestError("invalid since")
    if until_ns is None:
        raise BadRequestError("invalid until")
    if until_ns < since_ns:
        raise BadRequestError("until must not be before since")
    if limit is None:
        raise BadRequestError("invalid limit")
    if "cursor" in query and cursor_ns is None:
        raise BadRequestError("invalid cursor")
    return Window(since_ns, until_ns, cursor_ns, min(limit, 1440))


def _page(snapshots: list[Stored], window: Window, flavour: Flavour) -> bytes:
    wanted = [
        snapshot
        for snapshot in snapshots
        if window.since_ns <= snapshot.instant_ns <= window.until_ns
        and (window.cursor_ns is None or snapshot.instant_ns > window.cursor_ns)
    ]
    served = wanted[: window.limit]
    # The page is named after its first snapshot; without one the flavours differ.
    named = served or (snapshots[-1:] if flavour == "minute" else [])
    head = msgspec.json.encode(
        {
            "node_id": named[0].node_id if named else "",
            "env": named[0].env if named else "",
        }
    )
    listed = b"[" + b",".join(snapshot.json for snapshot in served) + b"]"
    if not served and flavour == "minute":
        listed = b"null"
    body = head[:-1] + b',"snapshots":' + listed
    if len(wanted) > len(served):
        cursor = _cursor(served[-1].instant_ns, flavour)
        return body + b',"has_more":true,"next_cursor":"' + cursor.encode() + b'"}\n'
    return body + b',"has_more":false}\n'


def _cursor(instant_ns: int, flavour: Flavour) -> str:
    """UTC; the nanosecond exporter drops trailing zeros, the minute exporter every fraction."""
    if flavour == "minute":
        return format_instant_ns(instant_ns // NS_PER_SECOND * NS_PER_SECOND)
    text = format_instant_ns(instant_ns)
    return text.rstrip("Z").rstrip("0") + "Z" if "." in text else text


# --- HTTP --------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60
    server: "_Server"

    def do_GET(self) -> None:
        try:
            reply = answer(
                self.server.store,
                self.server.token,
                self.path,
                self.headers.get("Authorization", ""),
            )
        except UsageError as error:
            _log.error("%s", error)
            reply = _text(HTTPStatus.INTERNAL_SERVER_ERROR, "store is not readable")
        try:
            self._send(reply)
        except ConnectionError:
            self.close_connection = True  # the client has seen enough

    def _send(self, reply: Answer) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        if len(reply.body) <= _LARGEST_WITH_LENGTH:
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        step = 1 << 18
        for start in range(0, len(reply.body), step):
            chunk = reply.body[start : start + step]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        _log.debug(format, *args)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], store: Store, token: str) -> None:
        self.store = store
        self.token = token
        super().__init__(address, _Handler)


class ExporterServer:
    """A development exporter in threads of this process; use it as a context manager.

    Args:
        store_file: JSON array of snapshots.
        listen: ``HOST:PORT``; port 0 takes a free one.
        token: the bearer token that it wants.

    Raises:
        UsageError: the store cannot be read, or the address cannot be listened on.
    """

    def __init__(
        self, store_file: Path, listen: str, token: str, flavour: Flavour = "nanosecond"
    ) -> None:
        store = Store(store_file, flavour)
        store.snapshots()
        host, _, port = listen.rpartition(":")
        try:
            self._server = _Server((host.strip("[]"), int(port)), store, token)
        except (OSError, OverflowError, ValueError) as error:
            raise UsageError(
                f"listen: expected a free HOST:PORT, got {listen!r} ({error})"
            ) from None
        self.base_url = f"http://{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def required_token(token: str | None) -> str:
    """The token of a development exporter: as given, else ``EXPORTER_TOKEN``.

    The variable keeps it out of process lists.

    Raises:
        UsageError: there is none.
    """
    found = token or os.environ.get("EXPORTER_TOKEN")
    if not found:
        raise UsageError("exporter: expected --token or EXPORTER_TOKEN, got neither")
    return found


def stop_signal() -> threading.Event:
    """An event that SIGTERM and SIGINT set; call it from the main thread."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def serve(
    store_file: Path, listen: str, token: str | None = None, flavour: Flavour = "nanosecond"
) -> None:
    """Serves a store until SIGTERM or SIGINT.

    Raises:
        UsageError: as ``ExporterServer`` and ``required_token``.
    """
    stop = stop_signal()
    with ExporterServer(store_file, listen, required_token(token), flavour) as server:
        _log.info("%s exporter of %s on %s", flavour, store_file, server.base_url)
        stop.wait()
