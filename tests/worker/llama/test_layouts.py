"""The shared context split among its slots, or unified."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.worker.llama.conftest import Open, model_path
from tests.worker.llama.driving import compute, go_on, is_same, rest, sequence, tokens
from worker.engine.batch import Batch, BatchItem
from worker.engine.runner import Layout, RestoreFailed, RunnerError
from worker.llama import runner as runner_module
from worker.llama.context import Context, ContextError, ContextOptions
from worker.llama.errors import LoadError
from worker.llama.layouts import layouts_for
from worker.llama.options import LoadOptions
from worker.llama.runner import LlamaRunner

KV_TYPES = ("f16", "q8_0")
OWN = 9  # a slot that is isolated, beyond those of a split context too
VALUES = 16 + 300 * 12  # where they begin, in a state of 300 cells


def both(opened: Open, **options: Any) -> tuple[LlamaRunner, Layout, Layout]:
    """A runner that can have either; split at first."""
    runner = opened(kv_layout="auto", **options)
    split, unified = runner.layouts
    assert split.is_split and not unified.is_split and runner.layout == split
    return runner, split, unified


def answers(runner: LlamaRunner, prompts: list[list[int]], count: int) -> list[list[int]]:
    """Greedy ones to all of them at once, each in a slot, in an order that is not the slots'."""
    slots = list(range(len(prompts)))[::-1]
    found = {slot: [compute(runner, slot, prompts[slot]).token_id] for slot in slots}
    seq = sequence(runner)
    for at in range(count):
        items = [
            BatchItem(seq, slot, len(prompts[slot]) + at, [found[slot][-1]], True) for slot in slots
        ]
        for slot, samples in zip(slots, runner.decode(Batch(items)), strict=True):
            found[slot].append(samples[0].token_id)
    return [found[slot] for slot in sorted(slots)]


def test_what_the_layouts_hold(opened: Open) -> None:
    runner, split, unified = both(opened)
    assert split == Layout(True, 4, 512) and split.num_cells == 2048
    assert unified.slot_cells == unified.num_cells == 2048 and unified.num_slots > 4
    assert (runner.num_slots, runner.num_cells) == (4, 2048)
    assert (runner.info.context_length, runner.info.num_cells) == (2048, 2048)
    most = runner.max_rows
    assert most > unified.num_slots - 1
    runner.reshape(unified)
    assert (runner.layout, runner.num_slots, runner.max_rows) == (unified, unified.num_slots, most)


@pytest.mark.parametrize("kv_type", KV_TYPES)
def test_greedy_answers_are_the_same_in_both_layouts(opened: Open, kv_type: str) -> None:
    runner, _, unified = both(opened, kv_type=kv_type)
    texts = ["What is the capital of France?", "Count from 3 to 9", "Say river stone 7", "Hello"]
    prompts = [runner.vocab.tokenize(t, add_special=True, parse_special=False) for t in texts]
    found = answers(runner, prompts, 12)
    runner.reshape(unified)
    assert answers(runner, prompts, 12) == found


@pytest.mark.parametrize("kv_type", KV_TYPES)
def test_states_move_between_layouts(opened: Open, kv_type: str) -> None:
    runner, split, unified = both(opened, kv_type=kv_type)
    ids, tail = tokens(runner, 300), tokens(runner, 9, seed=2)
    saved = []
    for layout in (split, unified):
        runner.reshape(layout)
        for slot in (3, 0, 2):  # the first stream, the last, and one between
            compute(runner, slot, ids)
            saved.append(runner.save(slot))
            runner.release(slot)
    runner.isolate(OWN, 400)
    compute(runner, OWN, ids)
    saved.append(runner.save(OWN))
    runner.release(OWN)
    assert len({len(state) for state in saved}) == 1
    assert len({state[VALUES:] for state in saved[:3]}) == 1
    found = []
    for layout in (split, unified):
        runner.reshape(layout)
        for state in saved:
            for slot in (0, 3):
                compute(runner, 1, tokens(runner, 40))
                runner.restore(slot, state, 300)
                assert runner.num_cached(slot) == 300 and runner.can_reuse(slot, 200)
                assert runner.save(slot)[VALUES:] == state[VALUES:]
                found.append(compute(runner, slot, tail, 300))
                runner.release(slot)
                runner.release(1)
    for sample in found:
        assert sample.token_id == found[0].token_id
        assert sample.logprob == pytest.approx(found[0].logprob, abs=0.05)


@pytest.mark.parametrize("kv_type", KV_TYPES)
def test_isolated_ones_go_on_to_the_last_bit_through_split_slots(
    opened: Open, kv_type: str
) -> None:
    runner, _, unified = both(opened, kv_type=kv_type)
    ids = tokens(runner, 300)
    runner.isolate(OWN, 512)
    logits = rest(runner, OWN, ids, 0)
    runner.release(OWN)
    runner.isolate(OWN, 512)
    compute(runner, OWN, ids[:256])
    state = runner.save(OWN)
    runner.release(OWN)
    for layout in (runner.layout, unified):
        if runner.layout != layout:
            runner.reshape(layout)
        runner.restore(2, state, 256)
        through = runner.save(2)
        runner.isolate(OWN, 512)
        runner.restore(OWN, through, 256)
        assert is_same(rest(runner, OWN, ids, 256), logits)
        runner.release(OWN)


@pytest.mark.parametrize("kv_type", KV_TYPES)
def test_a_prefix_copied_to_another_slot_goes_on_as_if_computed(opened: Open, kv_type: str) -> None:
    runner, _, _ = both(opened, kv_type=kv_type)
    ids = tokens(runner, 400)
    compute(runner, 2, ids[:300])
    expected = compute(runner, 2, ids[300:310], 300)
    compute(runner, 2, ids[310:], 310)  # the source is longer meanwhile
    runner.copy_prefix(2, 0, 300)
    assert (runner.num_cached(0), runner.num_cached(2)) == (300, 400)
    before = runner.save(2)
    got = compute(runner, 0, ids[300:310], 300)
    assert got.token_id == expected.token_id
    assert got.logprob == pytest.approx(expected.logprob, abs=1e-4)
    runner.release(0)
    assert runner.save(2) == before, "each has its own cells"
    runner.copy_prefix(2, 3, 400)
    runner.release(2)
    compute(runner, 3, [5], 400)


def test_a_slot_holds_its_share_and_no_more(opened: Open) -> None:
    runner, split, _ = both(opened)
    ids = tokens(runner, split.slot_cells)
    compute(runner, 1, ids)
    compute(runner, 2, ids[:100])
    items = [BatchItem(sequence(runner), 1, len(ids), [4], True)]
    items += [BatchItem(sequence(runner), 2, 100, [4], True)]
    with pytest.raises(RunnerError) as caught:
        runner.decode(Batch(items))
    assert caught.value.code == "NO_ROOM" and caught.value.retriable
    assert [runner.num_cached(slot) for slot in range(4)] == [0, 512, 100, 0]
    runner.decode(Batch(items[1:]))
    runner.trim(1, 500)
    compute(runner, 1, ids[:12], 500)
    runner.release(1)
    runner.isolate(OWN, 600)
    compute(runner, OWN, tokens(runner, 600))
    state = runner.save(OWN)
    with pytest.raises(RestoreFailed) as refused:
        runner.restore(1, state, 600)
    assert refused.value.reason == "no_room" and runner.num_cached(1) == 0


def test_a_state_of_several_streams_is_refused(opened: Open) -> None:
    runner, _, _ = both(opened)
    compute(runner, 0, tokens(runner, 50))
    state = runner.save(0)
    written = state[:8] + b"\4\0\0\0" + state[12:] + bytes(12)
    for wrong in (written, state + bytes(12), state[:12], b""):
        with pytest.raises(RestoreFailed) as caught:
            runner.restore(1, wrong, 50)
        assert caught.value.reason == "layout" and runner.num_cached(1) == 0


def test_many_rows_of_a_split_context(opened: Open) -> None:
    """As many drafts as there may be; those that are right are taken."""
    runner, _, _ = both(opened)
    prompt = tokens(runner, 50)
    samples = go_on(runner, 0, compute(runner, 0, prompt), 50, 30)
    right = [sample.token_id for sample in samples]
    items = [BatchItem(sequence(runner), 3, 0, [*prompt, *right[:-1]], True, 30)]
    items += [BatchItem(sequence(runner), slot, 0, [5], True) for slot in (1, 2)]
    drafted, *others = runner.decode(Batch(items))
    assert [sample.token_id for sample in drafted][:10] == right[:10]
    assert len({samples[0].token_id for samples in others}) == 1
    ids = tokens(runner, runner.max_rows)
    runner.decode(Batch([BatchItem(sequence(runner), 0, 80, ids, True, len(ids) - 1)]))


def test_back_and_forth_leaves_nothing_behind(opened: Open) -> None:
    runner, split, unified = both(opened, ctx=16384)  # 16 MiB of cells
    process = psutil.Process()
    after = []
    for _ in range(20):
        for layout in (unified, split):
            runner.reshape(layout)
            assert {runner.num_cached(slot) for slot in range(runner.num_slots)} == {0}
            compute(runner, 3, tokens(runner, 300))
        after.append(process.memory_info().rss)
    assert after[-1] - after[4] < 8 << 20


def test_a_reset_remakes_the_layout_there_is(opened: Open) -> None:
    runner, split, unified = both(opened)
    for layout in (split, unified, split):
        runner.reshape(layout)
        compute(runner, 1, [5])
        runner.reset()
        assert runner.layout == layout and runner.num_cached(1) == 0


def test_a_reshape_without_memory_is_an_error_and_the_old_layout_can_be_had_again(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, split, unified = both(opened)

    def refuse(*_: object) -> Context:
        raise ContextError("no context of 2048 cells")

    monkeypatch.setattr(runner_module, "Context", refuse)
    with pytest.raises(RunnerError) as caught:
        runner.reshape(unified)
    assert caught.value.code == "NO_CONTEXT" and not caught.value.retriable
    with pytest.raises(RunnerError):
        compute(runner, 0, [1])
    runner.release(0)
    monkeypatch.undo()
    runner.reset()
    assert runner.layout == split
    compute(runner, 0, [1])


CONTEXT = ContextOptions(
    num_cells=4096, num_seqs=56, num_rows=56, max_batch=296, num_threads=1, kv_type=1,
    on_device=False,
)  # fmt: skip
UNIFIED = Layout(False, 56, 4096)
OPTIONS = LoadOptions(Path("m.gguf"), slots=8)


@pytest.mark.parametrize(
    ("slots", "cells", "memory", "expected"),
    [
        (8, 4096, "full", [Layout(True, 8, 512), UNIFIED]),
        (5, 4096, "full", [Layout(True, 5, 768), UNIFIED]),
        (9, 4096, "full", [UNIFIED]),  # 455 cells each
        (1, 4096, "full", [Layout(True, 1, 4096)]),
        (8, 4096, "window", [UNIFIED]),
        (8, 4096, "hybrid", [UNIFIED]),
    ],
)
def test_auto_splits_where_it_is_good(
    slots: int, cells: int, memory: str, expected: list[Layout]
) -> None:
    context = replace(CONTEXT, num_cells=cells)
    assert list(layouts_for(replace(OPTIONS, slots=slots), context, memory)) == expected


def test_the_layout_that_was_asked_for_is_the_only_one() -> None:
    unified = replace(OPTIONS, kv_layout="unified")
    assert layouts_for(unified, CONTEXT, "full") == layouts_for(unified, CONTEXT, "window")
    assert layouts_for(unified, CONTEXT, "full") == (UNIFIED,)
    split = replace(OPTIONS, kv_layout="split", slots=16)
    assert layouts_for(split, CONTEXT, "full") == (Layout(True, 16, 256),)
    assert layouts_for(replace(split, slots=1), CONTEXT, "full") == (Layout(True, 1, 4096),)
    for options, memory, said in [
        (replace(split, slots=17), "full", "256"),
        (split, "window", "window"),
    ]:
        with pytest.raises(LoadError, match=said) as caught:
            layouts_for(options, CONTEXT, memory)
        assert "--kv-layout auto" in str(caught.value.remedy)


def test_one_layout_only_is_loaded(opened: Open) -> None:
    runner = opened(kv_layout="split", slots=8)
    assert list(runner.layouts) == [Layout(True, 8, 256)]
    assert (runner.info.context_length, runner.info.num_cells) == (256, 2048)
    compute(runner, 7, tokens(runner, 256))
    with pytest.raises(LoadError, match="window"):
        LlamaRunner.load(LoadOptions(model_path("ref-gpt-oss"), ctx=4096, kv_layout="split"))
