"""The client: what it times, and what it does not let pass."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from benchmarks.client import Request, ask, ask_all, post
from benchmarks.errors import BenchmarkError


@contextmanager
def server(chunks: Sequence[bytes], go: threading.Event) -> Iterator[int]:
    """Answers each connection with the first chunk, and with the others when it may go on."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1 << 16)
                connection.sendall(chunks[0])
                go.wait(10)
                for chunk in chunks[1:]:
                    connection.sendall(chunk)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


REQUEST = Request(post("/x", b"{}"), first=b"token", last=b"the end")


def started() -> threading.Event:
    go = threading.Event()
    go.set()
    return go


def test_first_token_and_end_are_found_across_reads() -> None:
    with server([b"started, tok", b"en, the e", b"nd"], started()) as port:
        answer = ask(port, REQUEST)
    assert answer.sent <= answer.first <= answer.done
    assert bytes(answer.body) == b"started, token, the end"


def test_first_token_is_timed_when_it_comes_not_when_all_is_there() -> None:
    go = threading.Event()
    threading.Timer(0.2, go.set).start()
    with server([b"token", b"the end"], go) as port:
        answer = ask(port, REQUEST)
    assert answer.total_s - answer.ttft_s > 0.1


def test_each_client_goes_through_its_script_in_order() -> None:
    with server([b"token the end"], started()) as port:
        found = ask_all(port, [[REQUEST] * 3, [REQUEST]])
    assert [len(answers) for answers in found] == [3, 1]
    assert found[0][0].done <= found[0][1].sent


def test_answer_without_its_end_is_an_error() -> None:
    with server([b"HTTP/1.1 503 token"], started()) as port:
        with pytest.raises(BenchmarkError, match="503"):
            ask(port, REQUEST)
