"""What happens as the cache fills: 80, 90, 100 per cent, and beyond."""

from __future__ import annotations

from tests.fakes.runner import FakeRunner
from tests.worker.engine.driving import cached, request, run, text_of
from worker.engine.blocks import CELLS_PER_BLOCK
from worker.engine.cache.archive import Archive
from worker.engine.engine import Engine
from worker.engine.events import EngineEvent, TokenEvent

BLOCK = CELLS_PER_BLOCK


def make(blocks: int, slots: int = 8, archive: Archive | None = None) -> tuple[Engine, FakeRunner]:
    runner = FakeRunner(num_slots=slots, num_cells=blocks * BLOCK, max_batch_tokens=4 * BLOCK)
    return Engine(runner, archive=archive, drafts=False), runner


def tidy(engine: Engine) -> None:
    """What the engine does while nobody waits."""
    while engine.has_chores:
        engine.do_chore()
        engine.check_integrity()


def texts(events: list[EngineEvent]) -> dict[str, str]:
    said: dict[str, str] = {}
    for event in events:
        if isinstance(event, TokenEvent):
            said[event.request_id] = said.get(event.request_id, "") + event.text
    return said


def test_idle_sequences_fill_an_eighth_and_the_oldest_leave_first() -> None:
    engine, _ = make(blocks=32, archive=Archive(ram_bytes=1 << 20))
    prompts = [text_of(300, start=10_000 * n) for n in range(6)]
    for n, prompt in enumerate(prompts):
        run(engine, request(f"{n}", prompt, agent=f"agent {n}"))
    tidy(engine)
    stats = engine.stats().cache
    assert (stats.idle, stats.cells_used) == (2, 4 * BLOCK)
    assert stats.archive is not None and stats.archive.warm_count == 4
    assert cached(engine, request("newest", prompts[5] + b"x", agent="agent 5")) == [300]
    assert engine.stats().cache.restores_total == 0
    assert cached(engine, request("oldest", prompts[0] + b"x", agent="agent 0")) == [300]
    assert engine.stats().cache.restores_total == 1


def test_from_eighty_per_cent_on_idle_ones_leave_while_others_run() -> None:
    engine, _ = make(blocks=10)
    run(engine, request("idle", text_of(500)))
    assert engine.stats().cache.idle == 1
    engine.add(request("large", text_of(7 * BLOCK - 20, start=70_000), 50))
    engine.step()
    assert engine.stats().cache.idle == 0
    assert engine.stats().cache.level == "ok"


def test_from_ninety_per_cent_on_new_ones_wait_so_that_those_who_run_can_grow() -> None:
    engine, _ = make(blocks=10)
    engine.add(request("large", text_of(8 * BLOCK - 20), 300))
    engine.add(request("small", b"hi" * 150, 4))
    engine.step()
    assert (engine.stats().running, engine.stats().waiting) == (1, 1)
    assert set(run(engine)) == {"large", "small"}


def test_whoever_is_alone_may_have_everything() -> None:
    engine, _ = make(blocks=4)
    end = run(engine, request("a", text_of(4 * BLOCK - 10), 100))["a"]
    assert end.timings.completion_tokens == 10


def test_when_it_is_full_the_newest_is_parked_and_goes_on_where_it_was() -> None:
    engine, runner = make(blocks=10)
    requests = [request(f"{n}", text_of(600, start=50_000 * n), 700) for n in range(3)]
    for one in requests:
        engine.add(one)
    events: list[EngineEvent] = []
    while not engine.is_empty:
        events += engine.step()
        engine.check_integrity()
    assert engine.stats().cache.preemptions_total > 0
    for one in requests:
        said = texts(events)[one.request_id]
        assert said == (bytes(one.prompt) * 2)[:700].decode()
    # Nothing was computed twice: prompts once, and each token of an answer but the last.
    assert sum(s for shape in runner.shapes for _, _, s in shape) == 3 * (600 + 699)


def test_a_parked_one_whose_state_does_not_come_back_is_computed_anew() -> None:
    engine, runner = make(blocks=10)
    requests = [request(f"{n}", text_of(600, start=50_000 * n), 700) for n in range(3)]
    for one in requests:
        engine.add(one)
    events: list[EngineEvent] = []
    runner.fail_restore("short")
    while not engine.is_empty:
        events += engine.step()
        engine.check_integrity()
    assert engine.stats().cache.failures == {"short": 1}
    for one in requests:
        assert texts(events)[one.request_id] == (bytes(one.prompt) * 2)[:700].decode()


def test_reproducible_ones_are_never_parked() -> None:
    engine, _ = make(blocks=10)
    engine.add(request("exact", text_of(600), 300, reproducible=True))
    engine.add(request("ordinary", text_of(900, start=9000), 900))
    ends = run(engine)
    assert {name: end.timings.completion_tokens for name, end in ends.items()} == {
        "exact": 300,
        "ordinary": 900,
    }


def test_the_one_to_build_upon_leaves_too_when_there_is_no_other_room() -> None:
    """It shares ten tokens with the newcomer and fills the cache."""
    engine, _ = make(blocks=4, archive=Archive(ram_bytes=1 << 20))
    big = text_of(3 * BLOCK)
    run(engine, request("a", big, agent="a"))
    assert cached(engine, request("b", big[:10] + text_of(700, start=9000), agent="b")) == [0]
    assert cached(engine, request("c", big + b"more", agent="a")) == [3 * BLOCK]


def test_a_snapshot_larger_than_this_context_is_not_brought() -> None:
    archive = Archive(ram_bytes=1 << 20)
    large, _ = make(blocks=16, archive=archive)
    prompt = text_of(8 * BLOCK)
    run(large, request("a", prompt, agent="a"))
    assert large.spill("a")
    small, _ = make(blocks=4, archive=archive)
    assert cached(small, request("b", prompt[:600] + b"?", agent="a")) == [0]
