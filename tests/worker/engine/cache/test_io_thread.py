from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from worker.engine.cache.io_thread import IoThread


@pytest.fixture
def held() -> Iterator[tuple[IoThread, threading.Event]]:
    """A thread that is busy until the event is set."""
    io, go, began = IoThread("test"), threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        assert go.wait(20)

    io.change("busy", wait)
    assert began.wait(20)
    yield io, go
    go.set()
    io.close(20)


def test_reads_first_then_the_newest_change_of_each_key_in_order(
    held: tuple[IoThread, threading.Event],
) -> None:
    io, go = held
    done: list[str] = []
    for key, what in (("a", "a1"), ("b", "b1"), ("a", "a2"), ("c", "c1")):
        io.change(key, lambda what=what: done.append(what))  # type: ignore[misc]
    io.forget_change("c")
    io.read(lambda: done.append("read"))
    assert io.num_changes == 3
    go.set()
    assert io.flush(20)
    assert done == ["read", "a2", "b1"]


def test_a_long_change_lets_reads_through(held: tuple[IoThread, threading.Event]) -> None:
    io, go = held
    done: list[str] = []

    def long() -> None:
        io.read(lambda: done.append("read"))
        io.run_reads()
        done.append("long")

    io.change("long", long)
    go.set()
    assert io.flush(20)
    assert done == ["read", "long"]


def test_the_end_drops_changes_and_runs_reads(held: tuple[IoThread, threading.Event]) -> None:
    io, go = held
    done: list[str] = []
    io.change("a", lambda: done.append("change"))
    io.read(lambda: done.append("read"))
    closing = threading.Thread(target=io.close, args=(20,))
    closing.start()
    assert not io.flush(0)
    while io.change("b", lambda: done.append("change")):
        pass
    go.set()
    closing.join(20)
    assert done == ["read"]
    assert not io.read(lambda: done.append("late"))


def test_a_job_that_raises_is_logged(
    held: tuple[IoThread, threading.Event], caplog: pytest.LogCaptureFixture
) -> None:
    io, go = held
    done: list[str] = []
    io.read(lambda: done.append(str(1 / 0)))
    io.change("a", lambda: done.append("a"))
    go.set()
    with caplog.at_level(logging.ERROR):
        assert io.flush(20)
    assert done == ["a"]
    assert "unforeseen" in caplog.text
