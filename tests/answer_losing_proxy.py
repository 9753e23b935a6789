"""A TCP proxy on loopback that loses one answer: the server acted, the client never hears of it."""

import socket
import threading
from typing import Final

_FINAL_ANSWER: Final = b"HTTP/1.1 200"


class AnswerLosingProxy:
    """Passes bytes both ways and cuts the connection instead of the first answer to a PUT."""

    def __init__(self, server: tuple[str, int]) -> None:
        self.server = server
        self.lost: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> "AnswerLosingProxy":
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _start(self, target: object, *arguments: object) -> None:
        threading.Thread(target=target, args=arguments, daemon=True).start()  # type: ignore[arg-type]

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            upstream = socket.create_connection(self.server)
            methods: list[str] = []
            self._start(self._pass_requests, client, upstream, methods)
            self._start(self._pass_answers, client, upstream, methods)

    def _pass_requests(
        self, client: socket.socket, upstream: socket.socket, methods: list[str]
    ) -> None:
        while data := _receive(client):
            start = data.split(b" ", 1)[0]
            if start in {b"PUT", b"GET", b"HEAD"}:
                methods.append(start.decode())
            upstream.sendall(data)
        upstream.shutdown(socket.SHUT_RDWR)

    def _pass_answers(
        self, client: socket.socket, upstream: socket.socket, methods: list[str]
    ) -> None:
        while data := _receive(upstream):
            with self._lock:
                loses = not self.lost and methods[-1] == "PUT" and data.startswith(_FINAL_ANSWER)
                if loses:
                    self.lost.append("PUT")
            if loses:
                break
            client.sendall(data)
        client.shutdown(socket.SHUT_RDWR)


def _receive(peer: socket.socket) -> bytes:
    try:
        return peer.recv(65536)
    except OSError:
        return b""
