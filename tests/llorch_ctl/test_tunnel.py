"""Ports joined to ports."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from llorch_ctl.errors import ForwardRefused
from llorch_ctl.tunnel import ForwardServer, SocketStream, dial_loopback
from tests.llorch_ctl.servers import closed_port, listening


def echo_until_end(sock: socket.socket) -> None:
    """Say back everything, but only once the other side has said all."""
    heard = b"".join(iter(lambda: sock.recv(65536), b""))
    sock.sendall(heard)


@contextmanager
def forwarded(handle: Callable[[socket.socket], None]) -> Iterator[ForwardServer]:
    with listening(handle) as port:
        with ForwardServer("mac", lambda: dial_loopback("mac", port)) as server:
            yield server


def exchange(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as sock:

        def send() -> None:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        heard = b"".join(iter(lambda: sock.recv(65536), b""))
        sender.join()
    return heard


def test_an_end_in_one_direction_leaves_the_other_open() -> None:
    data = bytes(range(256)) * 20_000
    with forwarded(echo_until_end) as server:
        assert exchange(server.port, data) == data


def test_sixty_four_at_once() -> None:
    answers: dict[int, bytes] = {}

    def one(number: int, port: int) -> None:
        answers[number] = exchange(port, f"number {number}".encode() * 1000)

    with forwarded(echo_until_end) as server:
        threads = [threading.Thread(target=one, args=(n, server.port)) for n in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert answers == {n: f"number {n}".encode() * 1000 for n in range(64)}


def test_small_writes_go_out_at_once() -> None:
    near, far = _tcp_pair()
    with near, far:
        stream = SocketStream(near)
        assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        stream.close()


def test_a_worker_that_is_gone_closes_the_connection_and_says_why() -> None:
    port = closed_port()
    with ForwardServer("mac", lambda: dial_loopback("mac", port)) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            assert sock.recv(1) == b""
        assert isinstance(server.last_error, ForwardRefused)


def test_closing_hangs_up_on_everybody() -> None:
    started = threading.Event()

    def wait_for_end(sock: socket.socket) -> None:
        started.set()
        assert sock.recv(1) == b""

    with forwarded(wait_for_end) as server:
        sock = socket.create_connection(("127.0.0.1", server.port))
        assert started.wait(5)
    with sock:
        assert sock.recv(1) == b""


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ForwardRefused, match=f"mac: cannot listen on 127.0.0.1:{port}"):
            ForwardServer("mac", lambda: dial_loopback("mac", 1), port).__enter__()


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    return near, far
