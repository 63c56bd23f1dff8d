"""What goes wrong while computing, and what is left of it."""

from __future__ import annotations

import threading
from typing import Any

import psutil
import pytest

from tests.worker.llama.conftest import Open
from tests.worker.llama.driving import compute, sequence, tokens
from worker.engine.batch import Batch, BatchItem
from worker.engine.runner import RunnerError
from worker.llama import runner as runner_module
from worker.llama.context import Context, ContextError


def test_an_interrupt_ends_the_decode_that_is_running(opened: Open) -> None:
    runner = opened(ctx=4096)
    ids = tokens(runner, 256)
    compute(runner, 1, ids[:50])
    done = threading.Event()

    def insist() -> None:
        while not done.is_set():
            runner.interrupt()

    thread = threading.Thread(target=insist)
    thread.start()
    try:
        with pytest.raises(RunnerError) as caught:
            compute(runner, 0, ids)
    finally:
        done.set()
        thread.join()
    assert caught.value.code == "ABORTED" and caught.value.retriable
    assert runner.num_cached(0) == 0, "what was begun is undone"
    assert runner.num_cached(1) == 50


def test_an_interrupt_between_decodes_ends_nothing(opened: Open) -> None:
    runner = opened()
    runner.interrupt()
    compute(runner, 0, tokens(runner, 20))
    assert runner.num_cached(0) == 20


def test_an_interrupt_reaches_isolated_slots(opened: Open) -> None:
    runner = opened()
    runner.isolate(0, 512)
    compute(runner, 0, [5])
    own: Any = runner._own.get(0)
    own._interrupt = _Stuck(own._interrupt)
    with pytest.raises(RunnerError) as caught:
        compute(runner, 0, [5], 1)
    assert caught.value.code == "ABORTED"


class _Stuck:
    """An interrupt that comes right at the beginning."""

    def __init__(self, interrupt: Any) -> None:
        self.clear = interrupt.set


def test_an_invalid_batch_is_a_decode_error(opened: Open) -> None:
    runner = opened()
    ids = tokens(runner, 10)
    compute(runner, 0, ids)
    with pytest.raises(RunnerError) as caught:
        compute(runner, 0, [3], 15)  # positions 10 to 14 are missing
    assert caught.value.code == "DECODE_FAILED"
    assert runner.num_cached(0) == 10


def test_a_reset_forgets_everything_and_goes_on(opened: Open) -> None:
    runner = opened()
    ids = tokens(runner, 100)
    runner.isolate(1, 256)
    before = compute(runner, 1, ids)
    compute(runner, 0, ids)
    runner.reset()
    assert [runner.num_cached(slot) for slot in range(runner.num_slots)] == [0] * runner.num_slots
    runner.isolate(1, 256)
    assert compute(runner, 1, ids) == before
    compute(runner, 0, ids)
    runner.release(0)
    runner.release(1)


def test_a_reset_without_memory_is_an_error_and_can_be_tried_again(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = opened()

    def refuse(*_: object) -> Context:
        raise ContextError("no context of 2048 cells")

    monkeypatch.setattr(runner_module, "Context", refuse)
    for _ in range(2):
        with pytest.raises(RunnerError) as caught:
            runner.reset()
        assert caught.value.code == "NO_CONTEXT" and not caught.value.retriable
    with pytest.raises(RunnerError):
        compute(runner, 0, [1])
    runner.release(0)
    monkeypatch.undo()
    runner.reset()
    compute(runner, 0, [1])


def test_a_reset_gives_the_old_context_s_memory_back(opened: Open) -> None:
    runner = opened(ctx=16384)  # 16 MiB of cells
    process = psutil.Process()

    def again() -> int:
        runner.reset()
        compute(runner, 0, tokens(runner, 300))
        return process.memory_info().rss

    for _ in range(3):
        before = again()
    for _ in range(8):
        after = again()
    assert after - before < 8 << 20


def test_the_rows_of_a_failed_decode_are_not_read(opened: Open) -> None:
    runner = opened(ctx=256)
    with pytest.raises(RunnerError) as caught:
        compute(runner, 0, tokens(runner, 250))
        items = [BatchItem(sequence(runner), slot, 0, [4, 5], True) for slot in range(1, 5)]
        runner.decode(Batch(items))
    assert caught.value.code == "NO_ROOM"
