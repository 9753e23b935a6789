"""An exporter for benchmarks: a process of its own that serves prebuilt bytes and computes nothing.

``python -m benchmarks.exporter DIRECTORY PORT`` serves every world in the directory (see
``worlds.ServedFile``) under ``/<delay in ms>/<name>/v1/snapshots/window``; a page is one piece of
the world's file, handed to the socket by the kernel. ``/cpu`` tells the CPU seconds used so far.
"""

import bisect
import json
import socketserver
import sys
import time
from email.utils import formatdate
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from billing_etl.hours import format_instant_ns, parse_instant_ns
from billing_etl.local.processes import HOST

TOKEN: Final = "benchmark"
_MOST_SNAPSHOTS: Final = 1000


class World:
    """The index of one served file."""

    def __init__(self, index: Path) -> None:
        entries = json.loads(index.read_text())
        self.instants_ns = [entry[0] for entry in entries]
        self.starts = [entry[1] for entry in entries]
        self.ends = [entry[1] + entry[2] for entry in entries]

    def page(self, since_ns: int, until_ns: int, limit: int) -> tuple[int, int, int | None]:
        """First byte, byte after the last, and the last instant when there is more (else None)."""
        first = bisect.bisect_left(self.instants_ns, since_ns)
        after = bisect.bisect_right(self.instants_ns, until_ns)
        last = min(after, first + limit)
        if last <= first:
            return 0, 0, None
        more = self.instants_ns[last - 1] if last < after else None
        return self.starts[first], self.ends[last - 1], more


@lru_cache(maxsize=200)
def _world(index: Path, written_ns: int) -> World:
    return World(index)


class Handler(socketserver.StreamRequestHandler):
    """One connection; it is kept until the client ends it."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        try:
            while line := self.rfile.readline():
                headers = []
                while (header := self.rfile.readline()) not in {b"\r\n", b""}:
                    headers.append(header.strip().lower())
                self._answer(line.split()[1].decode(), headers)
        except ConnectionError:
            return

    def _answer(self, target: str, headers: list[bytes]) -> None:
        url = urlsplit(target)
        if url.path == "/cpu":
            self._send(200, json.dumps({"cpu_seconds": time.process_time()}).encode())
            return
        if b"authorization: bearer " + TOKEN.encode() not in headers:
            self._send(401, b"unauthorized\n", "text/plain")
            return
        _, delay_ms, name, *path = url.path.split("/")
        assert path == ["v1", "snapshots", "window"], target
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        time.sleep(int(delay_ms) / 1000)
        self._send_page(name, query)

    def _send_page(self, name: str, query: dict[str, str]) -> None:
        directory = Path(sys.argv[1])
        index = directory / f"{name}.index"
        world = _world(index, index.stat().st_mtime_ns)
        start, end, more_after_ns = world.page(
            parse_instant_ns(query["since"]),
            parse_instant_ns(query["until"]),
            min(int(query.get("limit", _MOST_SNAPSHOTS)), _MOST_SNAPSHOTS),
        )
        tail = b'],"has_more":false}'
        if more_after_ns is not None:
            tail = b'],"has_more":true,"next_cursor":"%s"}' % (
                format_instant_ns(more_after_ns).encode()
            )
        prefix = b'{"node_id":"","env":"","snapshots":['
        length = len(prefix) + end - start + len(tail)
        self.connection.sendall(_head(200, length, "application/json") + prefix)
        if end > start:
            with (directory / f"{name}.snapshots").open("rb") as file:
                self.connection.sendfile(file, start, end - start)
        self.connection.sendall(tail)

    def _send(self, status: int, body: bytes, content_type: str = "application/json") -> None:
        self.connection.sendall(_head(status, len(body), content_type) + body)


def _head(status: int, length: int, content_type: str) -> bytes:
    return (
        f"HTTP/1.1 {status} {'OK' if status == 200 else 'Refused'}\r\n"
        f"Date: {formatdate(usegmt=True)}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


class Server(socketserver.ThreadingTCPServer):
    """A thread per connection: answers that wait do not hold up others."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    with Server((HOST, int(sys.argv[2])), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
