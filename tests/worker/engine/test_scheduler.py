"""What each step computes, seen from the runner: batches of (request, position, tokens)."""

from __future__ import annotations

from tests.fakes.runner import FakeRunner
from worker.engine.blocks import CELLS_PER_BLOCK
from worker.engine.engine import Engine
from worker.engine.params import SamplingParams
from worker.engine.request import GenerateRequest

Shape = list[tuple[str, int, int]]


def make(slots: int = 4, blocks: int = 16, batch: int = 64) -> tuple[Engine, FakeRunner]:
    runner = FakeRunner(num_slots=slots, num_cells=blocks * CELLS_PER_BLOCK, max_batch_tokens=batch)
    return Engine(runner, drafts=False), runner


def request(
    name: str,
    prompt: int = 10,
    max_tokens: int = 20,
    *,
    reproducible: bool = False,
    priority: int = 0,
) -> GenerateRequest:
    """Prompts of different requests have nothing in common."""
    tokens = tuple([sum(name.encode()) % 200 + 1] * prompt)
    params = SamplingParams(max_tokens=max_tokens)
    return GenerateRequest(name, tokens, params, reproducible, priority=priority)


def step(engine: Engine, runner: FakeRunner) -> list[Shape]:
    """The batches of one step."""
    before = len(runner.shapes)
    engine.step()
    return runner.shapes[before:]


def test_a_prompt_is_computed_and_then_each_step_brings_a_token() -> None:
    it = make()
    it[0].add(request("a"))
    assert step(*it) == [[("a", 0, 10)]]
    assert step(*it) == [[("a", 10, 1)]]
    assert step(*it) == [[("a", 11, 1)]]


def test_a_long_prompt_is_computed_in_chunks_and_samples_only_at_its_end() -> None:
    engine, runner = make(batch=64)
    engine.add(request("a", prompt=150))
    steps = [step(engine, runner) for _ in range(4)]
    assert steps == [[[("a", 0, 64)]], [[("a", 64, 64)]], [[("a", 128, 22)]], [[("a", 150, 1)]]]
    assert [batch.items[0].sampled for batch in runner.batches] == [False, False, True, True]


def test_a_long_prompt_does_not_stall_those_who_decode() -> None:
    it = make(batch=64)
    it[0].add(request("streaming", max_tokens=50))
    step(*it)
    it[0].add(request("long", prompt=600))
    for at in range(5):
        ((streaming, prompt),) = step(*it)
        assert streaming == ("streaming", 10 + at, 1)
        assert prompt[0] == "long" and prompt[2] == 63


def test_what_the_first_prompt_leaves_of_the_budget_goes_to_the_next() -> None:
    it = make(batch=96)
    for name in "abc":
        it[0].add(request(name, prompt=50))
    assert step(*it) == [[("a", 0, 50), ("b", 0, 46)]]
    assert step(*it) == [[("a", 50, 1), ("b", 46, 4), ("c", 0, 50)]]


def test_what_is_left_for_a_prompt_waits_when_it_is_next_to_nothing() -> None:
    it = make(batch=64)
    for name in "ab":
        it[0].add(request(name, prompt=40))
    assert step(*it) == [[("a", 0, 40)]]
    assert step(*it) == [[("a", 40, 1), ("b", 0, 40)]]


def test_reproducible_sequences_share_no_batch() -> None:
    it = make()
    for name, reproducible in (("a", False), ("r", True), ("b", False), ("s", True)):
        it[0].add(request(name, reproducible=reproducible))
    for _ in range(2):
        names = [[name for name, *_ in batch] for batch in step(*it)]
        assert names == [["a", "b"], ["r"], ["s"]]


def test_a_reproducible_prompt_is_cut_at_whole_blocks_whatever_else_runs() -> None:
    def cuts(others: int) -> list[tuple[int, int]]:
        it = make(slots=16, blocks=32, batch=300)
        for n in range(others):
            it[0].add(request(f"o{n}", prompt=100 + n, max_tokens=90))
        it[0].add(request("r", prompt=600, max_tokens=2, reproducible=True))
        batches = [batch for _ in range(40) for batch in step(*it)]
        return [(start, size) for batch in batches for name, start, size in batch if name == "r"]

    assert cuts(0) == [(0, 256), (256, 256), (512, 88), (600, 1)]
    assert cuts(3) == cuts(0)
    assert cuts(12) == cuts(0)


def test_who_finds_no_room_keeps_those_behind_waiting() -> None:
    engine, runner = make(slots=4, blocks=5)
    big = 2 * CELLS_PER_BLOCK + 1
    for name in ("first", "second", "small"):
        engine.add(request(name, prompt=10 if name == "small" else big, max_tokens=10))
    step(engine, runner)
    assert (engine.stats().running, engine.stats().waiting) == (1, 2)
    engine.cancel("first")
    step(engine, runner)
    assert (engine.stats().running, engine.stats().waiting) == (2, 0)


def test_a_large_request_starts_despite_a_stream_of_small_ones() -> None:
    """Without end small ones arrive, each overlapping the next; the large one waits for those who
    ran before it and for nobody else."""
    engine, runner = make(slots=4, blocks=4)
    engine.add(request("s0", prompt=200, max_tokens=40))
    engine.step()
    engine.add(request("large", prompt=900, max_tokens=10))
    for n in range(1, 100):
        engine.add(request(f"s{n}", prompt=200, max_tokens=40))
        engine.step()
        engine.step()
        if any(name == "large" for shape in runner.shapes for name, *_ in shape):
            break
    started = {name for shape in runner.shapes for name, *_ in shape}
    assert started == {"s0", "large"}


def test_max_running_bounds_how_many_run() -> None:
    runner = FakeRunner(num_slots=8)
    engine = Engine(runner, max_running=2)
    for n in range(5):
        engine.add(request(f"s{n}"))
    engine.step()
    assert (engine.stats().running, engine.stats().waiting) == (2, 3)


def test_the_higher_priority_starts_first_and_its_equals_in_order_of_arrival() -> None:
    engine, runner = make(slots=1)
    engine.add(request("running", max_tokens=2))
    step(engine, runner)
    for name, priority in (("a", 1), ("b", 3), ("c", 3), ("d", 2)):
        engine.add(request(name, max_tokens=1, priority=priority))
    while not engine.is_empty:
        engine.step()
    order = list(dict.fromkeys(item[0] for shape in runner.shapes for item in shape))
    assert order == ["running", "b", "c", "d", "a"]


def test_nobody_is_overtaken_for_ever() -> None:
    engine, runner = make(slots=1)
    engine.add(request("low", max_tokens=1))
    count = 0
    while all(item[0] != "low" for shape in runner.shapes for item in shape):
        engine.add(request(f"high{count}", max_tokens=1, priority=1))
        if count:
            engine.step()
        count += 1
        assert count < 200
    assert count > 10  # it did let others go first
