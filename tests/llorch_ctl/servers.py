"""Small TCP servers on loopback, and clients for them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def listening(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that gives each connection to `handle`, in a thread of its own; yields its port."""
    threads: list[threading.Thread] = []

    def handle_and_close(sock: socket.socket) -> None:
        with sock:
            handle(sock)

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=handle_and_close, args=(sock,)))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        acceptor = threading.Thread(target=accept, args=(listener,))
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
    for thread in threads:
        thread.join()


@contextmanager
def answering(data: bytes) -> Iterator[int]:
    """A server that says the same to everybody."""
    with listening(lambda sock: sock.sendall(data)) as port:
        yield port


def read_all(port: int) -> bytes:
    """All that a server says."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        return b"".join(iter(lambda: sock.recv(65536), b""))


def closed_port() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def run_all(jobs: list[Callable[[], object]]) -> None:
    """All at once; the first failure is raised."""
    failures: list[BaseException] = []

    def guarded(job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
