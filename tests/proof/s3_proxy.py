"""A proxy between a real client and a real S3 server that can stop around a PUT.

It takes each body as a whole before it passes it on. So with ``inside_put`` the client has sent all
of it, and the server got half: what is torn is what the server reads, as when a network breaks.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

# Announced, nothing passed on; sent whole by the client, half of the body passed on to the server;
# stored, the answer not passed on.
Kind: TypeAlias = Literal["before_put", "inside_put", "put_unrecorded"]
# Told the kind and the object's path; true: stop here.
See: TypeAlias = Callable[[Kind, str], bool]


@dataclass(frozen=True)
class Request:
    """What a client sent; ``headers`` without the body."""

    method: str
    path: str
    headers: dict[str, str]

    def header(self, name: str) -> str | None:
        return next((v for n, v in self.headers.items() if n.lower() == name.lower()), None)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "_Server"

    def setup(self) -> None:
        super().setup()
        self._see = self.server.see
        self._upstream = HTTPConnection(self.server.upstream)

    def finish(self) -> None:
        self._upstream.close()
        super().finish()

    def handle_expect_100(self) -> bool:
        return True  # the body is asked for once the announcement was seen

    def handle_one_request(self) -> None:
        """Hangs up, as a network that breaks, when either side does."""
        try:
            super().handle_one_request()
        except (OSError, HTTPException):
            self.close_connection = True

    def _pass_on(self) -> None:
        self.server.requests.append(Request(self.command, self.path, dict(self.headers.items())))
        if self._is_refused():
            return
        is_put = self.command == "PUT"
        if is_put and self._see("before_put", self.path):
            self.close_connection = True
            return
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._send_head()
        if is_put and self._see("inside_put", self.path):
            self._upstream.send(body[: len(body) // 2])
            self.close_connection = True
            return
        self._upstream.send(body)
        answer = self._upstream.getresponse()
        payload = answer.read()
        stored = is_put and answer.status == 200
        if stored and self._see("put_unrecorded", self.path):
            self.close_connection = True
            return
        self._answer(answer, payload)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on

    def _is_refused(self) -> bool:
        """Refuses, as AWS does, a request that expects another owner of the bucket."""
        expected = self.headers.get("x-amz-expected-bucket-owner")
        if self.server.owner is None or expected in {None, self.server.owner}:
            return False
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return True

    def _send_head(self) -> None:
        """As it came, as headers are signed; the expectation is met already."""
        self._upstream.putrequest(
            self.command, self.path, skip_host=True, skip_accept_encoding=True
        )
        for name, value in self.headers.items():
            if name.lower() != "expect":
                self._upstream.putheader(name, value)
        self._upstream.endheaders()

    def _answer(self, answer: HTTPResponse, payload: bytes) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        is_head = self.command == "HEAD"
        length = answer.getheader("Content-Length", "0") if is_head else str(len(payload))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, upstream: str, see: See) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.see = see
        self.owner: str | None = None
        self.requests: list[Request] = []


class S3Proxy:
    """Listens on loopback; use it as a context manager.

    Connections that are opened later are told to the ``see`` of then.
    """

    def __init__(self, endpoint_url: str, see: See) -> None:
        self._server = _Server(urlsplit(endpoint_url).netloc, see)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )

    @property
    def see(self) -> See:
        return self._server.see

    @see.setter
    def see(self, see: See) -> None:
        self._server.see = see

    def owned_by(self, account: str) -> None:
        """From now on every bucket belongs to this AWS account; the server behind knows none."""
        self._server.owner = account

    @property
    def requests(self) -> list[Request]:
        """Every request so far, in the order in which they arrived."""
        return self._server.requests

    def point_at(self, endpoint_url: str) -> None:
        """A server may have another port when it comes back."""
        self._server.upstream = urlsplit(endpoint_url).netloc

    def __enter__(self) -> "S3Proxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
