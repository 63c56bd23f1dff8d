"""A port of a pool on 127.0.0.1 of this machine: bytes copied both ways, end by end."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from llorch_ctl.errors import ForwardRefused
from pool_core.errors import LlorchError

_CHUNK = 64 * 1024
_MAX_CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect on this machine."""

    port: int
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


class Stream(Protocol):
    """A two-way byte stream whose directions end one at a time."""

    def recv(self, size: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> None: ...
    def end_sending(self) -> None: ...
    def close(self) -> None: ...


class SocketStream:
    """A socket as a Stream; small writes are sent at once, because tokens are small."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock

    def recv(self, size: int, /) -> bytes:
        return self._socket.recv(size)

    def sendall(self, data: bytes, /) -> None:
        self._socket.sendall(data)

    def end_sending(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        with suppress(OSError):  # wakes a thread that still reads; close() alone does not
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def dial_loopback(pool: str, port: int) -> Stream:
    """A port of this machine. Raises ForwardRefused."""
    try:
        return SocketStream(socket.create_connection(("127.0.0.1", port), timeout=None))
    except OSError as error:
        raise ForwardRefused(
            pool, f"nothing answers on 127.0.0.1:{port}", "is the worker still running?"
        ) from error


class ForwardServer:
    """Listens on 127.0.0.1 and joins each connection to one that `dial` opens.

    A context manager. A connection whose dial fails is closed, the error kept in `last_error`.
    """

    host = "127.0.0.1"

    def __init__(self, pool: str, dial: Callable[[], Stream], local_port: int = 0) -> None:
        self.last_error: LlorchError | None = None
        self._pool = pool
        self._dial = dial
        self._wanted_port = local_port
        self._slots = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self._streams: set[Stream] = set()
        self._lock = threading.Lock()
        self._closing = False

    def __enter__(self) -> Self:
        try:
            self._listener = socket.create_server(("127.0.0.1", self._wanted_port), backlog=128)
        except OSError as error:
            raise ForwardRefused(
                self._pool,
                f"cannot listen on 127.0.0.1:{self._wanted_port}: {_reason(error)}",
                "choose another --port",
            ) from error
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="forward", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._closing = True
            streams = list(self._streams)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._listener.close()
        for stream in streams:
            stream.close()
        self._thread.join(5)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def _accept(self) -> None:
        self._listener.settimeout(0.5)  # not every system wakes accept() when the socket closes
        while not self._closing:
            try:
                sock, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self._slots.acquire()
            threading.Thread(target=self._serve, args=(sock,), name="tunnel", daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            with self._tracked(SocketStream(sock)) as near:
                with self._tracked(self._dial_far()) as far:
                    join(near, far)
        except LlorchError:
            pass  # noted before the connection was closed
        finally:
            self._slots.release()

    def _dial_far(self) -> Stream:
        """The far end. Its error is noted before the near one sees its connection close."""
        try:
            return self._dial()
        except LlorchError as error:
            self.last_error = error
            raise

    @contextmanager
    def _tracked(self, stream: Stream) -> Iterator[Stream]:
        """Closes the stream at the end of the block, or earlier when the server closes."""
        with self._lock:
            self._streams.add(stream)
            late = self._closing
        try:
            if late:
                stream.close()
            yield stream
        finally:
            stream.close()
            with self._lock:
                self._streams.discard(stream)


def join(near: Stream, far: Stream) -> None:
    """Copy both ways until both directions have ended; an end is passed on as an end."""
    back = threading.Thread(target=_copy, args=(far, near), name="tunnel-back", daemon=True)
    back.start()
    _copy(near, far)
    back.join()


def _copy(source: Stream, sink: Stream) -> None:
    try:
        while data := source.recv(_CHUNK):
            sink.sendall(data)
        sink.end_sending()
    except OSError:  # one side broke: the other must not wait for it
        source.close()
        sink.close()


def _reason(error: OSError) -> str:
    """Without what Python adds to it."""
    return os.strerror(error.errno) if error.errno else str(error)
