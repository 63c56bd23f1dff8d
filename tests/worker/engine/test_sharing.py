"""Every prompt token is computed once, whoever needs it."""

from __future__ import annotations

from tests.fakes.runner import FakeRunner
from tests.worker.engine.driving import cached, computed, request, run, text_of
from worker.engine.blocks import CELLS_PER_BLOCK
from worker.engine.cache.archive import Archive
from worker.engine.engine import Engine
from worker.engine.runner import MemoryTraits

SYSTEM = text_of(2000)


def make(**options: object) -> tuple[Engine, FakeRunner]:
    defaults = {"num_slots": 20, "num_cells": 128 * CELLS_PER_BLOCK, "max_batch_tokens": 256}
    runner = FakeRunner(**(defaults | options))  # type: ignore[arg-type]
    return Engine(runner, drafts=False), runner


def test_sixteen_requests_with_one_system_prompt_compute_it_once() -> None:
    engine, runner = make()
    tails = [bytes([65 + n]) * 20 for n in range(16)]
    ends = run(engine, *(request(f"q{n}", SYSTEM + t, 1) for n, t in enumerate(tails)))
    assert computed(runner) == len(SYSTEM) + 16 * 20
    shared = sorted(end.timings.cached_tokens for end in ends.values())
    assert shared == [0] + [len(SYSTEM)] * 15
    assert runner.used_cells <= len(SYSTEM) + 16 * 20


def test_a_later_request_starts_from_what_an_earlier_one_left() -> None:
    engine, _ = make()
    assert cached(engine, request("a", SYSTEM + b"one")) == [0]
    assert cached(engine, request("b", SYSTEM + b"two")) == [len(SYSTEM)]
    assert cached(engine, request("c", SYSTEM[:777] + b"three")) == [777]


def test_the_same_prompt_again_computes_one_token_for_its_logits() -> None:
    engine, runner = make()
    run(engine, request("a", SYSTEM))
    before = computed(runner)
    assert cached(engine, request("b", SYSTEM, 1)) == [len(SYSTEM) - 1]
    assert computed(runner) == before + 1


def test_an_answer_is_part_of_what_is_shared() -> None:
    """A conversation that comes back with the answer in its prompt."""
    engine, _ = make()
    prompt = SYSTEM + b"hello?"
    run(engine, request("a", prompt, 10))
    again = prompt + prompt[:10] + b" and then?"  # the runner says its prompt again
    assert cached(engine, request("b", again)) == [len(prompt) + 9]


def test_whoever_is_still_running_can_be_shared_from() -> None:
    engine, runner = make()
    engine.add(request("slow", SYSTEM + b"x", 500))
    for _ in range(12):
        engine.step()
    assert engine.stats().running == 1
    assert cached(engine, request("b", SYSTEM + b"y"))[0] == len(SYSTEM)


def test_a_follower_whose_leader_is_cancelled_computes_for_itself() -> None:
    engine, _ = make()
    engine.add(request("leader", SYSTEM + b"x"))
    engine.add(request("follower", SYSTEM + b"y"))
    engine.step()
    assert (engine.stats().running, engine.stats().waiting) == (1, 1)
    engine.cancel("leader")
    assert set(run(engine)) == {"follower"}


def test_without_cache_nothing_is_reused_and_nothing_is_kept() -> None:
    engine, runner = make()
    run(engine, request("a", SYSTEM))
    used = runner.used_cells
    assert cached(engine, request("b", SYSTEM, use_cache=False)) == [0]
    assert runner.used_cells == used


def test_a_memory_that_cannot_be_cut_is_reused_only_as_a_whole() -> None:
    engine, _ = make(memory=MemoryTraits("recurrent", can_trim=False))
    prompt = SYSTEM + b"x"
    run(engine, request("a", prompt, 3))
    assert cached(engine, request("b", SYSTEM + b"y")) == [0]
    said = prompt[:2]  # of three tokens, the last is never computed
    assert cached(engine, request("c", prompt + said + b"more")) == [len(prompt) + 2]


def test_a_reproducible_prompt_reuses_whole_blocks_that_were_computed_alike() -> None:
    runner = FakeRunner(num_slots=8, num_cells=64 * CELLS_PER_BLOCK, max_batch_tokens=300)
    engine = Engine(runner, archive=Archive(ram_bytes=1 << 20))
    run(engine, request("ordinary", SYSTEM))
    exact = [request(f"r{n}", SYSTEM + b"%d" % n, reproducible=True) for n in range(3)]
    assert cached(engine, exact[0]) == [0]
    whole = len(SYSTEM) // CELLS_PER_BLOCK * CELLS_PER_BLOCK
    assert cached(engine, exact[1]) == [whole]
    assert cached(engine, request("short", SYSTEM[:600], reproducible=True)) == [512]
    chunks = [(at, size) for shape in runner.shapes for name, at, size in shape if name == "r1"]
    assert chunks[0] == (whole, len(SYSTEM) + 1 - whole)


def test_reproducible_requests_that_arrive_together_compute_their_blocks_once() -> None:
    runner = FakeRunner(num_slots=8, num_cells=80 * CELLS_PER_BLOCK, max_batch_tokens=300)
    engine = Engine(runner, archive=Archive(ram_bytes=1 << 20))
    several = [request(f"r{n}", SYSTEM + b"%d" % n, reproducible=True) for n in range(6)]
    whole = len(SYSTEM) // CELLS_PER_BLOCK * CELLS_PER_BLOCK
    assert sorted(cached(engine, *several)) == [0] + [whole] * 5
