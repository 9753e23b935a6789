"""Receivers on this machine for what is sent to other people's services: HTTP, mail, StatsD."""

import json
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class HttpReceiver:
    """What was posted; ``status`` is the answer to everything from now on.

    ``body_never_ends``: its body is promised and does not come.
    """

    url: str = ""
    status: int = 200
    body_never_ends: bool = False
    posts: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    @property
    def documents(self) -> list[Any]:
        return [document for _, _, document in self.posts]


@contextmanager
def http_receiver() -> Iterator[HttpReceiver]:
    received = HttpReceiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # the connection stays open

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.posts.append((self.path, dict(self.headers), json.loads(body)))
            self.send_response(received.status)
            self.send_header("Content-Length", "1" if received.body_never_ends else "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    received.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def smtp_receiver() -> Iterator[tuple[int, list[str]]]:
    """Its port, and the mails that came."""
    mails: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 receiver\r\n")
            while line := self.rfile.readline():
                word = line.split()[0].upper() if line.strip() else b""
                if word == b"QUIT":
                    self.wfile.write(b"221 bye\r\n")
                    return
                if word != b"DATA":
                    self.wfile.write(b"250 ok\r\n")
                    continue
                self.wfile.write(b"354 go on\r\n")
                body = ""
                while (text := self.rfile.readline().decode()) != ".\r\n":
                    body += text
                mails.append(body)
                self.wfile.write(b"250 ok\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1], mails
        server.shutdown()


class StatsdReceiver:
    """Metrics that arrived by UDP, taken off at once: what does not fit the socket is lost."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._arrived: list[str] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while data := self._socket.recv(65536):
            self._arrived += data.decode().splitlines()

    def lines(self) -> list[str]:
        """All that was sent until now, as lines such as ``airflow.name,tag=x:1|g``."""
        mark = f"mark {len(self._arrived)}"
        self._send(mark.encode())
        while mark not in self._arrived:
            time.sleep(0.01)
        return [line for line in self._arrived if not line.startswith("mark ")]

    def _send(self, data: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(data, ("127.0.0.1", self.port))

    def close(self) -> None:
        self._send(b"")  # ends the thread
        self._socket.close()
