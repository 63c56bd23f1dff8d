"""A plain HTTP client for tests: says what came back, whatever the status, and sends no more
headers than it was told to."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    raw: bytes

    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def text(self) -> str:
        return self.raw.decode("utf-8", "strict")

    @property
    def events(self) -> list[Any]:
        """The data of a stream's events: JSON values, or "[DONE]"."""
        return list(parse_events(self.text))


def parse_events(text: str) -> Iterator[Any]:
    assert text.endswith("\n\n"), f"an unfinished event: {text[-80:]!r}"
    for block in text[:-2].split("\n\n"):
        if block.startswith(":"):
            continue
        assert block.startswith("data: "), block
        data = block.removeprefix("data: ")
        yield data if data == "[DONE]" else json.loads(data)


def call(
    url: str,
    path: str,
    body: Any = None,
    *,
    method: str | None = None,
    headers: dict[str, str] | None = None,
    timeout: float = 60,
) -> Answer:
    """GET, or POST when there is a body: bytes as they are, anything else as JSON."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=timeout)
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    try:
        connection.request(method or ("GET" if data is None else "POST"), path, data, headers or {})
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())
    finally:
        connection.close()


def open_stream(url: str, path: str, body: Any, *, receive_buffer: int = 0) -> socket.socket:
    """A POST whose answer is read by hand from the socket; closing it is leaving.

    `receive_buffer` is in bytes, 0 for what is usual.
    """
    address = urlsplit(url)
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    )
    connection = socket.socket()
    connection.settimeout(60)
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect((address.hostname, address.port))
    connection.sendall(head.encode() + data)
    return connection


def read_until(connection: socket.socket, wanted: bytes) -> bytes:
    """What came, up to and with `wanted`."""
    seen = b""
    while wanted not in seen:
        piece = connection.recv(65536)
        assert piece, f"the connection ended before {wanted!r}: {seen[-200:]!r}"
        seen += piece
    return seen


def read_rest(connection: socket.socket) -> bytes:
    """What comes until the other side is done."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def eventually(holds: Callable[[], bool], timeout: float = 30) -> None:
    """Wait for something that announces itself to nobody."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)
