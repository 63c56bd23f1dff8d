"""Contexts that attend without flash attention, and their states in others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.worker.llama.conftest import ANSWERING, Open
from tests.worker.llama.driving import compute, tokens
from worker.engine.runner import Layout
from worker.llama.context import ContextOptions
from worker.llama.layouts import laid_out
from worker.llama.runner import LlamaRunner

OWN = 9
COUNT = 300
VALUES = 16 + COUNT * 12  # where they begin, in a state


def is_plain(runner: LlamaRunner) -> bool:
    return runner._context.has_values_by_column


@pytest.mark.parametrize("name", ANSWERING)
def test_states_go_on_in_contexts_of_the_other_kind(opened: Open, name: str) -> None:
    runner = opened(name, ctx=8192, kv_layout="auto")
    split, unified = runner.layouts
    ids, tail = tokens(runner, COUNT), tokens(runner, 9, seed=2)
    saved = []
    for layout in (split, unified):
        runner.reshape(layout)
        assert is_plain(runner) == layout.is_split
        compute(runner, 2, ids)
        saved.append(runner.save(2))
        runner.release(2)
    runner.isolate(OWN, 400)
    compute(runner, OWN, ids)
    saved.append(runner.save(OWN))
    runner.release(OWN)
    assert len({len(state) for state in saved}) == 1
    found = []
    for layout in (split, unified):
        runner.reshape(layout)
        for state in saved:
            runner.restore(3, state, COUNT)
            assert runner.num_cached(3) == COUNT
            assert runner.save(3)[VALUES:] == state[VALUES:]
            runner.copy_prefix(3, 1, 200)
            assert runner.num_cached(1) == 200
            found.append(compute(runner, 3, tail, COUNT))
            again = compute(runner, 1, ids[200:] + tail, 200)
            assert again.token_id == found[-1].token_id
            runner.release(3)
            runner.release(1)
    for sample in found:
        assert sample.token_id == found[0].token_id
        assert sample.logprob == pytest.approx(found[0].logprob, abs=0.05)


def test_one_slot_alone_attends_so_too(opened: Open) -> None:
    runner = opened(ctx=4096, slots=1, kv_layout="auto")
    assert runner.layouts == (Layout(True, 1, 4096),) and is_plain(runner)
    ids = tokens(runner, COUNT)
    expected = compute(runner, 0, ids)
    state = runner.save(0)
    runner.release(0)
    runner.restore(0, state, COUNT)
    runner.trim(0, COUNT - 1)
    again = compute(runner, 0, ids[-1:], COUNT - 1)
    assert again.token_id == expected.token_id
    assert again.logprob == pytest.approx(expected.logprob, abs=0.01)


def test_quantised_cells_stay_with_flash_attention(opened: Open) -> None:
    runner = opened(ctx=8192, kv_layout="auto", kv_type="q8_0")
    assert runner.layout == Layout(True, 4, 2048) and not is_plain(runner)


OPTIONS = ContextOptions(
    num_cells=32768, num_seqs=64, num_rows=64, max_batch=560, num_threads=2, kv_type=1,
    on_device=False, score_bytes=4 * 14,
)  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "score_bytes", "rows"),
    [
        (Layout(True, 16, 2048), 56, 560),
        (Layout(True, 1, 16384), 56, 288),  # 252 MiB of scores
        (Layout(True, 1, 32768), 56, 144),
        (Layout(True, 1, 131072), 56, 0),  # too few rows at a time
        (Layout(True, 16, 1024), 56, 0),  # short ones are as fast with flash attention
        (Layout(False, 64, 32768), 56, 0),  # of a pool, others' cells would be computed too
        (Layout(True, 16, 2048), 0, 0),  # on a device
    ],
)
def test_where_plain_attention_is_chosen(layout: Layout, score_bytes: int, rows: int) -> None:
    options = laid_out(replace(OPTIONS, score_bytes=score_bytes), layout)
    assert options.max_rows_at_once == rows
    assert options.flash_attention == (False if rows else None)
