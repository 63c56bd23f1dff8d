"""Sequences that share cells in the shared context."""

from __future__ import annotations

import pytest

from tests.worker.llama.conftest import MODELS, Open
from tests.worker.llama.driving import compute, go_on, sequence, tokens
from worker.engine.batch import Batch, BatchItem
from worker.engine.runner import RunnerError


def test_there_are_more_slots_than_run_at_once(opened: Open) -> None:
    runner = opened(slots=4)
    assert runner.num_slots > 4
    assert runner.max_rows >= runner.num_slots
    assert runner.max_batch_tokens >= 4 + 256
    assert runner.num_cells == 2048
    assert (runner.memory.kind, runner.memory.can_trim) == ("full", True)


def test_slots_end_at_what_llama_cpp_can_number(opened: Open) -> None:
    runner = opened(slots=256)
    assert runner.num_slots == 256
    compute(runner, 255, tokens(runner, 5))
    assert runner.num_cached(255) == 5


@pytest.mark.parametrize("name", MODELS)
def test_a_copied_prefix_goes_on_as_its_source(opened: Open, name: str) -> None:
    runner = opened(name)
    ids = tokens(runner, 300)
    compute(runner, 0, ids)
    runner.copy_prefix(0, 7, 300)
    assert runner.num_cached(7) == 300
    tail = tokens(runner, 9, seed=2)
    assert compute(runner, 7, tail, 300) == compute(runner, 0, tail, 300)


def test_sharing_takes_no_cells(opened: Open) -> None:
    """Twenty sequences of 1,900 positions, in a context of 2,048 cells."""
    runner = opened()
    compute(runner, 0, tokens(runner, 1900))
    for slot in range(1, 21):
        runner.copy_prefix(0, slot, 1900)
    for slot in range(21):
        compute(runner, slot, tokens(runner, 5, seed=slot), 1900)
        assert runner.num_cached(slot) == 1905
    runner.release(0)
    assert runner.num_cached(0) == 0
    compute(runner, 3, tokens(runner, 3), 1905)


def test_part_of_a_sequence_is_shared_or_forgotten(opened: Open) -> None:
    runner = opened()
    ids = tokens(runner, 120)
    compute(runner, 0, ids)
    expected = compute(runner, 1, ids[:70])
    assert runner.can_reuse(0, 69) and not runner.can_reuse(0, 121)
    runner.copy_prefix(0, 2, 69)
    runner.trim(0, 69)
    for slot in (0, 2):
        assert runner.num_cached(slot) == 69
        got = compute(runner, slot, ids[69:70], 69)
        assert got.token_id == expected.token_id
        assert got.logprob == pytest.approx(expected.logprob, abs=0.05)


def test_a_window_that_was_passed_cannot_be_reused(opened: Open) -> None:
    runner = opened("ref-gpt-oss", ctx=512)
    window = runner.memory.window
    assert (runner.memory.kind, window) == ("window", 128)
    compute(runner, 0, tokens(runner, 400))
    saved = runner.save(0)
    runner.release(0)
    runner.restore(1, saved, 400)
    assert runner.can_reuse(1, 400) and not runner.can_reuse(1, 399)
    compute(runner, 1, [5, 6], 400)
    assert runner.can_reuse(1, 401)


def test_a_full_context_is_no_room_and_nothing_changes(opened: Open) -> None:
    runner = opened(ctx=512)
    ids = tokens(runner, 400)
    compute(runner, 0, ids)
    with pytest.raises(RunnerError) as caught:
        compute(runner, 1, tokens(runner, 200))
    assert caught.value.code == "NO_ROOM" and caught.value.retriable
    assert (runner.num_cached(0), runner.num_cached(1)) == (400, 0)
    go_on(runner, 0, compute(runner, 0, [3], 400), 401, 3)


def test_a_batch_of_many_rows(opened: Open) -> None:
    """As many drafts as there may be, beside as many sequences as may run."""
    runner = opened(slots=4)
    ids = tokens(runner, runner.max_rows - 3)
    items = [BatchItem(sequence(runner), 0, 0, ids, True, len(ids) - 1)]
    items += [BatchItem(sequence(runner), slot, 0, [5], True) for slot in (1, 2, 3)]
    assert sum(item.num_rows for item in items) == runner.max_rows
    assert [len(samples) >= 1 for samples in runner.decode(Batch(items))] == [True] * 4
