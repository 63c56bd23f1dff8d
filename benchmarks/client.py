"""The one client of all servers: one thread, raw sockets, no parsing while the clock runs.

On a machine where the servers need every core, a client that parses events or switches between
threads is measured along with them. This one looks for two markers in the bytes and keeps the rest.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.errors import BenchmarkError

_READ_SIZE = 1 << 16
_SILENCE_S = 600.0  # a long prompt on a slow machine says nothing for minutes


@dataclass(frozen=True, slots=True)
class Request:
    """A whole HTTP request, and the bytes by which its first token and its end are known."""

    payload: bytes
    first: bytes
    last: bytes


@dataclass(slots=True)
class Answer:
    """When things happened (seconds of `time.perf_counter`), and everything that was received."""

    sent: float
    first: float = 0.0
    done: float = 0.0
    body: bytearray = field(default_factory=bytearray)

    @property
    def ttft_s(self) -> float:
        """From before the connection was opened to the event of the first token."""
        return self.first - self.sent

    @property
    def total_s(self) -> float:
        return self.done - self.sent


def post(path: str, body: bytes) -> bytes:
    """A POST of JSON on a connection of its own."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def ask(port: int, request: Request) -> Answer:
    """One request, alone."""
    return ask_all(port, [[request]])[0][0]


def ask_all(port: int, scripts: Sequence[Sequence[Request]]) -> list[list[Answer]]:
    """A client for each script, all at once; each sends its next request when one is answered.

    Raises BenchmarkError when an answer ends without its end marker.
    """
    clients = [_Client(port, script) for script in scripts]
    with selectors.DefaultSelector() as selector:
        try:
            for client in clients:
                client.send_next(selector)
            while selector.get_map():
                _receive(selector, port)
        finally:
            for client in clients:
                client.close()
    return [client.answers for client in clients]


def _receive(selector: selectors.BaseSelector, port: int) -> None:
    ready = selector.select(_SILENCE_S)
    if not ready:
        raise BenchmarkError(f"the server on port {port} has been silent for too long")
    for key, _ in ready:
        key.data.receive(selector)


class _Client:
    """One connection at a time, registered with the selector while an answer is awaited."""

    def __init__(self, port: int, script: Sequence[Request]) -> None:
        self.answers: list[Answer] = []
        self._address = ("127.0.0.1", port)
        self._requests = deque(script)
        self._socket: socket.socket | None = None

    def send_next(self, selector: selectors.BaseSelector) -> None:
        if not self._requests:
            return
        self._request = self._requests.popleft()
        self._answer = Answer(sent=time.perf_counter())
        self.answers.append(self._answer)
        self._socket = connection = socket.create_connection(self._address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(self._request.payload)
        selector.register(connection, selectors.EVENT_READ, self)

    def receive(self, selector: selectors.BaseSelector) -> None:
        assert self._socket is not None
        answer, request = self._answer, self._request
        chunk = self._socket.recv(_READ_SIZE)
        now = time.perf_counter()
        seen = len(answer.body)
        answer.body += chunk
        if not answer.first and answer.body.find(request.first) >= 0:
            answer.first = now
        if answer.body.find(request.last, max(0, seen - len(request.last))) >= 0:
            answer.done = now
        elif chunk:
            return
        selector.unregister(self._socket)
        self.close()
        if not answer.done or not answer.first:
            raise BenchmarkError(f"an answer without its end: {bytes(answer.body[-600:])!r}")
        self.send_next(selector)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
