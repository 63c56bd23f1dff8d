"""Cells of one's own while that suffices, one pool when it does not."""

from __future__ import annotations

import pytest

from tests.fakes.runner import FakeRunner
from tests.worker.engine.driving import cached, computed, request, run, text_of
from worker.engine.blocks import CELLS_PER_BLOCK
from worker.engine.cache.archive import Archive
from worker.engine.engine import Engine
from worker.engine.events import EngineEvent, TokenEvent
from worker.engine.runner import RunnerError

BLOCK = CELLS_PER_BLOCK
PROMPT = text_of(600)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


def make(clock: Clock | None = None) -> tuple[Engine, FakeRunner]:
    """Four slots of three blocks; together sixteen."""
    runner = FakeRunner(
        num_slots=4, num_cells=16 * BLOCK, max_batch_tokens=300, split_cells=3 * BLOCK
    )
    archive = Archive(ram_bytes=1 << 20)
    return Engine(runner, archive=archive, drafts=False, clock=clock or Clock()), runner


def test_a_prefix_is_computed_once_also_where_cells_are_not_shared() -> None:
    engine, runner = make()
    tails = [bytes([65 + n]) * 20 for n in range(4)]
    run(engine, *(request(f"{n}", PROMPT + tail, 1) for n, tail in enumerate(tails)))
    assert runner.layout.is_split and engine.stats().reshapes_total == 0
    assert computed(runner) == len(PROMPT) + 4 * 20
    assert runner.used_cells == 4 * (len(PROMPT) + 20)


def test_a_request_larger_than_its_share_gets_one_pool() -> None:
    engine, runner = make()
    large = text_of(1500, start=9000)
    assert cached(engine, request("large", large)) == [0]
    assert not runner.layout.is_split
    assert cached(engine, request("again", large + b"more")) == [len(large)]


def test_who_runs_meanwhile_goes_on_where_it_was() -> None:
    engine, runner = make()
    small = [request(f"{n}", text_of(300, start=5000 * n), 100) for n in range(3)]
    for one in small:
        engine.add(one)
    events: list[EngineEvent] = []
    for _ in range(10):
        events += engine.step()
    engine.add(request("large", text_of(1500, start=90_000), 4))
    while not engine.is_empty:
        events += engine.step()
        engine.check_integrity()
    assert engine.stats().reshapes_total == 1
    for one in small:
        said = "".join(
            e.text for e in events if isinstance(e, TokenEvent) and e.request_id == one.request_id
        )
        assert said == bytes(one.prompt)[:100].decode()
    # Each token once, but for the last of each answer.
    assert computed(runner) == 3 * (300 + 99) + 1500 + 3


def test_an_answer_that_outgrows_its_share_gets_one_pool() -> None:
    engine, runner = make()
    end = run(engine, request("a", PROMPT, 700))["a"]
    assert end.timings.completion_tokens == 700
    assert not runner.layout.is_split
    assert computed(runner) == 600 + 699


def test_whoever_has_a_context_of_its_own_is_waited_for() -> None:
    engine, _ = make()
    engine.add(request("exact", text_of(300), 60, reproducible=True))
    engine.step()
    engine.add(request("large", text_of(1500, start=9000), 4))
    engine.step()
    assert (engine.stats().running, engine.stats().reshapes_total) == (1, 0)
    assert set(run(engine)) == {"exact", "large"}
    assert engine.stats().reshapes_total == 1


def test_it_goes_back_when_nothing_large_has_come_for_a_while() -> None:
    clock = Clock()
    engine, runner = make(clock)
    run(engine, request("large", text_of(1500), agent="anna"))
    while engine.has_chores and clock.now < 150:
        engine.do_chore()
        clock.now += 0.2
    assert engine.has_chores and not runner.layout.is_split
    clock.now += 60
    engine.do_chore()
    assert runner.layout.is_split
    engine.check_integrity()
    # What anna had is in RAM, and too large for a slot.
    assert cached(engine, request("again", text_of(1500) + b"?", agent="anna")) == [1500]


def test_a_layout_that_cannot_be_made_fails_everybody_and_says_why() -> None:
    engine, runner = make()

    def reshape(layout: object) -> None:
        raise RunnerError("no memory", code="NO_CONTEXT", retriable=False)

    runner.reshape = reshape  # type: ignore[assignment]
    engine.add(request("large", text_of(1500)))
    (failed,) = engine.step()
    assert (failed.request_id, getattr(failed, "code", "")) == ("large", "NO_CONTEXT")
    assert engine.is_empty


@pytest.mark.parametrize("others", [0, 3])
def test_idle_ones_keep_their_slots_until_they_are_needed(others: int) -> None:
    engine, _ = make()
    run(engine, request("a", PROMPT, agent="anna"))
    for n in range(others):
        run(engine, request(f"{n}", text_of(300, start=7000 * (n + 1))))
    assert not engine.has_chores
    assert engine.stats().cache.idle == 1 + others
    assert cached(engine, request("b", PROMPT + b"?", agent="anna")) == [len(PROMPT)]
    assert engine.stats().cache.restores_total == 0


def test_those_who_run_together_are_neighbours_in_the_order_of_their_slots() -> None:
    engine, runner = make()
    for n in range(4):
        engine.add(request(f"{n}", text_of(100, start=5000 * n), 300, agent=f"{n}"))
    for _ in range(4):
        engine.step()
    for gone in ("0", "2"):
        engine.cancel(gone)
    engine.add(request("new", text_of(100, start=70_000), 300))
    for _ in range(3):
        engine.step()
    (items,) = [batch.items for batch in runner.batches[-1:]]
    assert [item.slot for item in items] == [1, 2, 3]
    # Agent 0 is idle in slot 0, and may go on there; agent 2 had to make way.
    assert cached(engine, request("0+", text_of(100) + b"?", 1, agent="0"))[0] == 100
    assert engine.stats().cache.restores_total == 0


def test_who_would_be_computed_apart_moves_to_the_others() -> None:
    engine, runner = make()
    for n in range(4):
        engine.add(request(f"{n}", text_of(300, start=5000 * n), 300, agent=f"{n}"))
    for _ in range(8):
        engine.step()
    for gone in ("1", "2", "3"):
        engine.cancel(gone)
    engine.add(request("3+", text_of(300, start=15_000) + b"?", 300, agent="3"))
    for _ in range(3):
        engine.step()
    assert [item.slot for item in runner.batches[-1].items] == [0, 1]
    assert runner.shapes[-1][1][0] == "3+"
    engine.check_integrity()


def test_the_one_to_copy_from_does_not_have_to_leave_for_its_copy() -> None:
    """It is the only neighbour of who runs, and no other slot is."""
    engine, runner = make()
    for name in ("gone", "1"):
        engine.add(request(name, PROMPT if name == "gone" else text_of(90, start=9000), 500))
    engine.add(request("2", text_of(90, start=19_000), 20, agent="2"))
    for _ in range(6):
        engine.step()
    engine.cancel("gone")
    for _ in range(30):
        engine.step()
    assert engine.stats().cache.idle == 2
    engine.spill("2")
    assert cached(engine, request("copy", PROMPT[:300] + b"?"))[0] == 300


def test_what_a_parked_one_has_computed_itself_does_not_count_as_cached() -> None:
    """A larger request comes while its prompt is being computed."""
    engine, _ = make()
    engine.add(request("small", PROMPT))
    engine.step()  # 300 of its 600 tokens
    ends = run(engine, request("large", text_of(1500, start=90_000)))
    assert engine.stats().reshapes_total == 1
    assert ends["small"].timings.cached_tokens == ends["small"].timings.restored_tokens == 0
