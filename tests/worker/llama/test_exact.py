"""Isolated sequences: the same to the last bit, whatever else was or is computed."""

from __future__ import annotations

import pytest

from tests.worker.llama.conftest import MODELS, Open
from tests.worker.llama.driving import compute, is_same, rest, tokens
from worker.engine.runner import RestoreFailed, RunnerError
from worker.llama import own

KV_TYPES = ("f16", "q8_0", "q4_0")


@pytest.mark.parametrize(
    ("name", "kv_type", "threads"),
    [(name, kv_type, 1) for name in MODELS for kv_type in KV_TYPES]
    + [("ref-llama", "f16", 2), ("ref-gpt-oss", "q8_0", 2)],
)
def test_whole_blocks_restored_go_on_as_if_computed(
    opened: Open, name: str, kv_type: str, threads: int
) -> None:
    runner = opened(name, kv_type=kv_type, threads=threads)
    ids = tokens(runner, 700)
    runner.isolate(0, 720)
    computed = rest(runner, 0, ids, 0)
    runner.isolate(1, 512)
    compute(runner, 1, ids[:512])
    saved = runner.save(1)
    runner.isolate(2, 1300)
    runner.restore(2, saved, 512)
    assert runner.num_cached(2) == 512
    assert is_same(rest(runner, 2, ids, 512), computed)


@pytest.mark.parametrize("name", MODELS)
def test_saved_by_one_process_and_restored_by_the_next(opened: Open, name: str) -> None:
    before = opened(name)
    ids = tokens(before, 600)
    before.isolate(3, 512)
    compute(before, 3, ids[:512])
    saved = before.save(3)
    after = opened(name, slots=9, ctx=4096)
    after.isolate(1, 640)
    after.restore(1, saved, 512)
    before.release(3)
    before.isolate(3, 640)
    assert is_same(rest(after, 1, ids, 512), rest(before, 3, ids, 0))


@pytest.mark.parametrize("kv_type", KV_TYPES)
def test_a_restored_one_saves_what_it_was_given(opened: Open, kv_type: str) -> None:
    for name in ("ref-llama", "ref-gpt-oss"):
        runner = opened(name, kv_type=kv_type)
        runner.isolate(0, 512)
        compute(runner, 0, tokens(runner, 512))
        saved = runner.save(0)
        runner.isolate(1, 600)
        runner.restore(1, saved, 512)
        assert runner.save(1) == saved


def test_a_longer_state_is_cut_back_to_whole_blocks(opened: Open) -> None:
    runner = opened()
    ids = tokens(runner, 700)
    runner.isolate(0, 768)
    computed = rest(runner, 0, ids, 0)
    saved = runner.save(0)
    runner.isolate(1, 768)
    runner.restore(1, saved, 710)
    runner.trim(1, 512)
    assert runner.num_cached(1) == 512
    assert is_same(rest(runner, 1, ids, 512), computed)


def test_a_restored_window_is_not_cut_back(opened: Open) -> None:
    """What the window had passed is not there, though it takes up cells."""
    runner = opened("ref-gpt-oss")
    runner.isolate(0, 512)
    compute(runner, 0, tokens(runner, 512))
    assert runner.can_reuse(0, 256)
    saved = runner.save(0)
    runner.isolate(1, 600)
    runner.restore(1, saved, 512)
    assert runner.can_reuse(1, 512) and not runner.can_reuse(1, 511)
    runner.trim(1, 0)
    compute(runner, 1, tokens(runner, 300))
    assert runner.can_reuse(1, 256)


@pytest.mark.parametrize("name", ["ref-llama", "ref-gpt-oss"])
def test_a_context_that_another_used_computes_the_same(opened: Open, name: str) -> None:
    runner = opened(name, ctx=8192)
    ids = tokens(runner, 400)
    runner.isolate(0, 420)
    fresh = rest(runner, 0, ids, 0)
    runner.isolate(1, 1500)
    compute(runner, 1, tokens(runner, 1400, seed=2))
    used = runner._own.get(1)
    runner.release(1)
    runner.isolate(2, 420)
    assert runner._own.get(2) is used
    assert runner.num_cached(2) == 0
    assert is_same(rest(runner, 2, ids, 0), fresh)


@pytest.mark.parametrize("name", MODELS)
def test_an_ordinary_slot_takes_an_isolated_one_s_state(opened: Open, name: str) -> None:
    runner = opened(name)
    ids = tokens(runner, 512)
    runner.isolate(0, 600)
    compute(runner, 0, ids)
    saved = runner.save(0)
    expected = compute(runner, 0, [9], 512)
    compute(runner, 1, tokens(runner, 77, seed=3))  # other cells than those it was computed in
    runner.restore(2, saved, 512)
    got = compute(runner, 2, [9], 512)
    assert runner.num_cached(2) == 513
    assert got.logprob == pytest.approx(expected.logprob, abs=0.05)


def test_an_isolated_slot_takes_no_cells_out_of_order(opened: Open) -> None:
    """In cells of another order, the last bits would be others."""
    runner = opened(ctx=1024)
    compute(runner, 0, tokens(runner, 300))
    compute(runner, 1, tokens(runner, 200))
    runner.release(0)
    compute(runner, 1, tokens(runner, 150), 200)  # into the cells before its first
    saved = runner.save(1)
    runner.release(1)
    runner.isolate(2, 512)
    with pytest.raises(RestoreFailed) as caught:
        runner.restore(2, saved, 350)
    assert caught.value.reason == "layout"
    runner.restore(3, saved, 350)
    assert runner.num_cached(3) == 350


def test_a_context_without_memory_is_refused_and_may_be_tried_again(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = opened()
    runner.isolate(0, 300)
    runner.release(0)
    monkeypatch.setattr(own, "free_bytes", lambda devices: 1 << 20)
    runner.isolate(0, 300)  # the one that was kept
    with pytest.raises(RunnerError) as caught:
        runner.isolate(1, 2000)
    assert caught.value.code == "OUT_OF_MEMORY" and caught.value.retriable
    assert runner.num_cached(1) == 0
    monkeypatch.undo()
    runner.isolate(1, 2000)
    compute(runner, 1, tokens(runner, 30))


def test_few_contexts_are_kept_for_the_next(opened: Open) -> None:
    runner = opened(ctx=2048)
    for slot in range(6):
        runner.isolate(slot, 256)
    for slot in range(6):
        runner.release(slot)
    assert len(runner._own._spares) == 2  # a quarter of the cells
    runner.reset()
    assert runner._own._spares == []
