"""Whatever happens, in whatever order: no cell is lost, no request ends twice or never."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fakes.runner import FakeRunner, broken
from worker.engine.blocks import CELLS_PER_BLOCK, LeakedBlocks
from worker.engine.cache.archive import Archive
from worker.engine.cache.snapshot import Snapshot
from worker.engine.engine import Engine
from worker.engine.errors import AgentBusy, AgentExists, NothingKept, UnknownAgent
from worker.engine.events import EngineEvent, Finished, TokenEvent
from worker.engine.params import SamplingParams
from worker.engine.request import GenerateRequest
from worker.engine.residents import Resident, Residents

BLOCKS, SLOTS = 5, 4
AGENTS = ("anna", "ben", None)
NAMES = ("anna", "ben", "carla")

add = st.tuples(
    st.just("add"),
    st.integers(0, 3),  # which family of prompts
    st.integers(1, 900),  # tokens of prompt
    st.integers(1, 500),  # tokens of answer
    st.integers(0, 2),  # which agent
    st.integers(0, 9),  # 0: reproducible, 1: without cache
)
action = st.one_of(
    add,
    add,
    st.tuples(st.just("cancel"), st.integers(0, 12)),
    st.tuples(st.just("step"), st.integers(1, 12)),
    st.tuples(st.just("spill"), st.integers(0, 1)),
    st.tuples(st.just("fork"), st.integers(0, 1), st.integers(0, 1)),
    st.tuples(st.just("delete"), st.integers(0, 2)),
    st.tuples(st.just("import"), st.integers(0, 1), st.integers(0, 2)),
    st.tuples(st.just("chore")),
    st.tuples(st.just("break")),
    st.tuples(st.just("no memory")),
    st.tuples(st.just("bad state")),
)
schedules = st.lists(action, min_size=3, max_size=14)


@dataclass
class Play:
    """One schedule, played on an engine that is checked after every move."""

    events: list[EngineEvent] = field(default_factory=list)
    requests: dict[str, GenerateRequest] = field(default_factory=dict)

    split: bool = False

    def __post_init__(self) -> None:
        self.runner = FakeRunner(
            num_slots=SLOTS,
            num_cells=BLOCKS * CELLS_PER_BLOCK,
            max_batch_tokens=300,
            split_cells=CELLS_PER_BLOCK if self.split else None,
        )
        archive = Archive(ram_bytes=12_000)  # some snapshots fall out of it
        self.engine = Engine(self.runner, archive=archive, max_running=3)

    def to_the_end(self, actions: list[tuple[object, ...]]) -> None:
        for name, *args in actions:
            self.move(str(name), *[int(str(arg)) for arg in args])
            self.check()
        for _ in range(20_000):  # far more than all of it can need: nobody starves
            if not self.engine.has_work:
                break
            self.events += self.engine.step()
            self.check()
        assert self.engine.is_empty

    def move(self, name: str, *args: int) -> None:
        match name:
            case "add":
                self.add(*args)
            case "cancel":
                self.events += self.engine.cancel(f"{args[0]}")
            case "step":
                for _ in range(args[0]):
                    self.events += self.engine.step()
                    self.check()
            case "spill":
                self.engine.spill(AGENTS[args[0]] or "")
            case "fork":
                self.fork(NAMES[args[0]], NAMES[1 - args[0]] if args[1] else "carla")
            case "delete":
                with suppress(AgentBusy, UnknownAgent):
                    self.engine.agents.delete(NAMES[args[0]])
                    assert not self.engine.agents.knows(NAMES[args[0]])
            case "import":
                self.bring(NAMES[args[0]], NAMES[args[1]])
            case "chore":
                self.engine.do_chore()
            case "break":
                self.runner.error = broken()
            case "no memory":
                self.runner.isolate_error = broken("no memory")
            case "bad state":
                self.runner.fail_restore("short")

    def add(self, family: int, prompt: int, answer: int, agent: int, mode: int) -> None:
        length = min(prompt, self.engine.max_sequence_tokens - 1)
        tokens = tuple((65 + family + at // 7) % 256 for at in range(length))
        name = f"{len(self.requests)}"
        params = SamplingParams(max_tokens=answer)
        request = GenerateRequest(name, tokens, params, mode == 0, AGENTS[agent], mode != 1)
        self.requests[name] = request
        self.engine.add(request)

    def fork(self, name: str, new: str) -> None:
        agents = self.engine.agents
        with suppress(AgentBusy, AgentExists, UnknownAgent):
            text = agents.text(name)
            if agents.fork(name, new):
                assert agents.text(new) == text
            else:
                self.bring(name, new)

    def bring(self, name: str, new: str) -> None:
        """Export and import: what was one's is the other's."""
        agents = self.engine.agents
        with suppress(AgentBusy, UnknownAgent, NothingKept):
            text = agents.text(name)
            taken: list[Snapshot | None] = []
            agents.fetch(name, taken.append)
            if taken[0] is not None:
                agents.put(new, taken[0])
                assert agents.text(new) == text

    def check(self) -> None:
        self.engine.check_integrity()
        views, has_more = self.engine.agents.page("", 10)
        assert not has_more and [view.name for view in views] == sorted(v.name for v in views)
        for view in views:
            assert view.tier != "hot" or view.blocks > 0
        stats = self.engine.stats()
        assert self.runner.used_cells <= stats.cache.cells_used <= stats.cache.cells_total
        assert stats.running <= 3

    def check_answers(self) -> None:
        """Each request ended once, and those that were answered got the runner's words."""
        ends = [e for e in self.events if not isinstance(e, TokenEvent)]
        assert Counter(e.request_id for e in ends) == dict.fromkeys(self.requests, 1)
        said: dict[str, list[int]] = {name: [] for name in self.requests}
        for event in self.events:
            if isinstance(event, TokenEvent):
                said[event.request_id].append(event.token_id)
        for end in ends:
            request, tokens = self.requests[end.request_id], said[end.request_id]
            expected = [request.prompt[at % len(request.prompt)] for at in range(len(tokens))]
            assert tokens == expected
            if isinstance(end, Finished):
                assert end.timings.cached_tokens < len(request.prompt)


@pytest.mark.parametrize("part", range(4))
def test_integrity(part: int) -> None:
    """Four times 550 schedules, so that several processes can share them."""

    @settings(
        max_examples=550,
        deadline=None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(schedules, st.booleans())
    def play(actions: list[tuple[object, ...]], split: bool) -> None:
        it = Play(split=split)
        it.to_the_end(actions)
        it.check_answers()

    play()


def test_a_block_that_leaks_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above would be worth nothing if it could not fail."""
    drop = Residents.close

    def leak(self: Residents, one: Resident) -> None:
        one.blocks = one.blocks[1:]
        drop(self, one)

    monkeypatch.setattr(Residents, "close", leak)
    it = Play()
    with pytest.raises(LeakedBlocks):
        it.to_the_end([("add", 0, 600, 4, 0, 1), ("step", 6)])


def test_cells_that_leak_in_the_runner_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeRunner, "trim", lambda self, slot, length: None)
    it = Play()
    with pytest.raises((LeakedBlocks, AssertionError)):
        it.to_the_end([("add", 0, 600, 4, 0, 5), ("step", 9), ("add", 0, 300, 4, 0, 5)])
