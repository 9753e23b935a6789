"""A proxy between a real client and a real PostgreSQL that reads the wire and can stop on it.

It tells at which kinds of moments it stands; whoever is told may say "stop here". From then on the
connection passes nothing more, as after a kill of the client or a cut of the network.
"""

import re
import socket
import threading
from collections import deque
from collections.abc import Callable, Collection
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

# In a transaction that has written; inside a COPY to the server; committed, the answer not passed.
Kind: TypeAlias = Literal["transaction", "copy", "commit_sent"]
# Told the kind and a statement; true: stop here.
See: TypeAlias = Callable[[Kind, str], bool]

_SSL_REQUEST, _CANCEL_REQUEST, _GSS_REQUEST = 80877103, 80877102, 80877104
_BUFFER_BYTES: Final = 1 << 16
_COMMENT: Final = re.compile(r"--[^\n]*")
_WRITE: Final = re.compile(
    r"\b(?:insert into|(?<!for )(?<!key )update|delete from|copy) (?!set\b)([^\s(]+)"
)


class StoppedError(Exception):
    """Someone said "stop here": nothing more is passed on."""


class Session:
    """What both directions of one connection have shown so far.

    The statement of a moment is the one that is about to be sent. That of a commit is all that
    wrote something in the transaction, because every COMMIT reads alike.

    Args:
        unremarkable: tables to which writing counts as nothing.
    """

    def __init__(self, see: See, unremarkable: Collection[str]) -> None:
        self._see = see
        self._unremarkable = unremarkable
        self._prepared: dict[bytes, str] = {}
        self._bound = ""
        self._sent: deque[str] = deque()
        self._in_transaction = False
        self._copying = ""
        self._written: list[str] = []

    # --- from the client, before it is passed on ------------------------------------------------

    def asked(self, kind: bytes, body: bytes) -> bytes:
        """Gives what to pass on first, and then stop; empty: the whole message, and go on.

        Raises:
            StoppedError: pass nothing of it.
        """
        if kind == b"P":
            name, text = body.split(b"\0", 2)[:2]
            self._prepared[name] = _on_one_line(text)
        elif kind == b"B":
            self._bound = self._prepared[body.split(b"\0", 2)[1]]
        elif kind == b"E":
            self._statement(self._bound)
        elif kind == b"Q":
            self._statement(_on_one_line(body[:-1]))
        elif kind == b"d" and self._see("copy", self._copying):
            return body[: len(body) // 2]  # a torn message
        elif kind == b"c":
            self._stop_if_wanted("copy", self._copying)
        return b""

    def _statement(self, text: str) -> None:
        if self._written:
            self._stop_if_wanted("transaction", text)
        if text.lower().startswith("begin"):
            self._in_transaction = True
        self._sent.append(text)

    # --- from the server, before it is passed on ------------------------------------------------

    def answered(self, kind: bytes, body: bytes) -> None:
        """Raises StoppedError when the client must not hear of it."""
        if kind == b"G":
            self._copying = self._sent[0]
        elif kind == b"C":
            self._completed(body[:-1].decode(), self._sent.popleft() if self._sent else "")
        elif kind == b"Z":
            self._sent.clear()
            self._in_transaction = body != b"I"
            if not self._in_transaction:
                self._written.clear()

    def _completed(self, tag: str, statement: str) -> None:
        """``tag`` names what was done and ends with the number of rows, such as INSERT 0 5."""
        self._copying = ""
        if tag == "COMMIT" and self._written:
            written = "; ".join(self._written)
            self._written.clear()
            self._stop_if_wanted("commit_sent", written)
            return
        is_write = bool(set(_tables_written(statement)) - set(self._unremarkable))
        touched = tag[-1].isdigit() and not tag.endswith(" 0")
        if self._in_transaction and is_write and touched:
            self._written.append(statement)

    def _stop_if_wanted(self, kind: Kind, statement: str) -> None:
        if self._see(kind, statement):
            raise StoppedError


def _on_one_line(text: bytes) -> str:
    return " ".join(_COMMENT.sub("", text.decode()).replace('"', "").split())


def _tables_written(statement: str) -> list[str]:
    """Also by a statement that ends as a select; without their schema."""
    return [name.rpartition(".")[2] for name in _WRITE.findall(statement.lower())]


class PostgresProxy:
    """Listens on loopback; use it as a context manager.

    Connections that are opened later are told to the ``see`` of then.
    """

    def __init__(self, database_url: str, see: See, unremarkable: Collection[str] = ()) -> None:
        self.see = see
        self._unremarkable = unremarkable
        self.point_at(database_url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        login = urlsplit(database_url).netloc.rpartition("@")[0]
        self._login = f"postgresql://{login}@127.0.0.1:{port}"

    def point_at(self, database_url: str) -> None:
        """A server may have another port when it comes back."""
        parts = urlsplit(database_url)
        self._server = (parts.hostname or "", parts.port or 0)

    def url(self, database: str) -> str:
        """The address of a database of the server, through this proxy."""
        return f"{self._login}/{database}"

    def __enter__(self) -> "PostgresProxy":
        _in_background(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        _hang_up(self._listener)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            _in_background(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket()
        try:
            start = _Reader(client).start_message()
            server.connect(self._server)
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.sendall(start)
            session = Session(self.see, self._unremarkable)
            _in_background(_pass_answers, server, client, session)
            _pass_requests(client, server, session)
        except OSError:
            return
        finally:
            _hang_up(client)
            _hang_up(server)


class _Reader:
    """Takes whole messages off a connection."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._buffer = bytearray()

    def start_message(self) -> bytes:
        """The first message that is meant for the server; encryption is declined before it."""
        while True:
            length = int.from_bytes(self._peek(4), "big")
            message = self._take(length)
            if int.from_bytes(message[4:8], "big") not in {_SSL_REQUEST, _GSS_REQUEST}:
                return message
            self._peer.sendall(b"N")

    def message(self) -> bytes:
        """Raises ConnectionError at the end of the connection."""
        return self._take(1 + int.from_bytes(self._peek(5)[1:], "big"))

    def _peek(self, count: int) -> bytes:
        while len(self._buffer) < count:
            data = self._peer.recv(_BUFFER_BYTES)
            if not data:
                raise ConnectionError
            self._buffer += data
        return bytes(self._buffer[:count])

    def _take(self, count: int) -> bytes:
        data = self._peek(count)
        del self._buffer[:count]
        return data

    @property
    def is_empty(self) -> bool:
        return not self._buffer


def _pass_requests(client: socket.socket, server: socket.socket, session: Session) -> None:
    reader, pending = _Reader(client), bytearray()
    while True:
        try:
            message = reader.message()
            part = session.asked(message[:1], message[5:])
        except StoppedError:
            server.sendall(pending)  # what came before was sent and arrives
            return
        if part:
            server.sendall(pending + message[:5] + part)
            return
        pending += message
        if reader.is_empty:
            server.sendall(pending)
            pending.clear()


def _pass_answers(server: socket.socket, client: socket.socket, session: Session) -> None:
    reader, pending = _Reader(server), bytearray()
    try:
        while True:
            message = reader.message()
            session.answered(message[:1], message[5:])
            pending += message
            if reader.is_empty:
                client.sendall(pending)
                pending.clear()
    except (OSError, StoppedError):
        return
    finally:
        _hang_up(client)
        _hang_up(server)


def _in_background(target: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=target, args=arguments, daemon=True).start()


def _hang_up(peer: socket.socket) -> None:
    try:
        peer.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has gone already
    finally:
        peer.close()
