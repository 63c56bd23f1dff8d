"""The self-test: the same prompts under different circumstances, on an engine that may serve."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import uuid4

from pool_core.errors import LlorchError
from worker.engine.async_engine import AsyncEngine
from worker.engine.errors import EngineStopped
from worker.engine.runner import MemoryTraits, Vocab
from worker.self_test.compare import TOLERANCE
from worker.self_test.judge import Answered, Expectation, judge
from worker.self_test.prompts import LENGTHS, LONG, make_prompt
from worker.self_test.result import Check, End, Progress, Report, Verdict
from worker.self_test.trace import KINDS, Question, Trace, ask

NUM_TOKENS = 16  # of each answer
_RESTORED_LENGTHS = (24, 257, 520, 700)  # tokens of the first of two turns
_NEXT_TURN = 12  # tokens that a second turn adds
_LEAST_ROOM = 8
_NUM_PROMPTS = 1 + len(LENGTHS) + len(_RESTORED_LENGTHS) + 1  # the long one first, then theirs

Restart = Callable[[], Awaitable[AsyncEngine]]


@dataclass
class _Agent:
    """`history` is what it was asked and what it said, turn after turn."""

    name: str
    first: Question
    history: tuple[int, ...]


class SelfTest:
    """Asks everything alone, then in company, and compares. Runs once.

    Another `seed` asks other prompts: a worker that serves may have those of an earlier test in its
    cache. `restart` replaces the engine by one that knows only what is on disk, for those who can.
    Raises LlorchError when the context holds no prompt worth asking.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        vocab: Vocab,
        memory: MemoryTraits,
        *,
        tolerance: float = TOLERANCE,
        seed: int = 0,
        restart: Restart | None = None,
    ) -> None:
        room = engine.max_prompt_tokens - 3 * NUM_TOKENS - 2 * _NEXT_TURN
        if room < _LEAST_ROOM:
            raise LlorchError(
                f"a context of {engine.max_sequence_tokens} tokens is too small for a self-test",
                "give at least --ctx 1024",
            )
        self._engine = engine
        self._memory = memory
        self._tolerance = tolerance
        self._restart = restart

        def prompt(number: int, length: int) -> tuple[int, ...]:
            return make_prompt(vocab, seed * _NUM_PROMPTS + number, min(length, room))

        def question(number: int, length: int, *, reproducible: bool) -> Question:
            return Question(number, prompt(number, length), reproducible)

        self._questions = [
            question(number, length, reproducible=number % 2 == 1)
            for number, length in enumerate(LENGTHS, 1)
        ]
        # Of their own, so that nothing of them is in the cache but what the agents left there.
        self._first_turns = [
            question(number, length, reproducible=number % 2 == 0)
            for number, length in enumerate(_RESTORED_LENGTHS, len(LENGTHS) + 1)
        ]
        self._long = question(0, LONG, reproducible=False)
        self._next_turn = prompt(_NUM_PROMPTS - 1, _NEXT_TURN)
        self._alone: dict[int, Trace] = {}
        self._reports: asyncio.Queue[Report] = asyncio.Queue()
        self._ok = True
        self._done = 0
        num_turns = 3 if restart is None else 5  # each but the first is asked without a cache too
        self._total = 4 * len(self._questions) + num_turns * len(self._first_turns)

    async def run(self) -> AsyncGenerator[Report, None]:
        """Yields how it goes; the last is an End. Closing it cancels what is under way.

        Raises EngineStopped.
        """
        started = time.monotonic()
        work = asyncio.create_task(self._work())
        try:
            while not (work.done() and self._reports.empty()):
                upcoming = asyncio.ensure_future(self._reports.get())
                try:
                    await asyncio.wait({upcoming, work}, return_when=asyncio.FIRST_COMPLETED)
                    if upcoming.done():
                        yield upcoming.result()
                finally:
                    upcoming.cancel()
            work.result()
        finally:
            await _cancel(work)
        yield End(self._ok, round(time.monotonic() - started, 3))

    async def _work(self) -> None:
        await self._ask_alone()
        await self._ask_together("together", use_cache=True)
        async with self._prefilling():
            await self._ask_together("with prefill", use_cache=False)
        await self._ask_together("warm", use_cache=True, expectation=Expectation.CACHED)
        if reason := self._why_no_restore():
            for kind in KINDS:
                self._tell(Check("restored", kind, Verdict.SKIPPED, detail=reason))
        else:
            await self._restore()

    def _why_no_restore(self) -> str:
        if self._engine.stats().cache.archive is None:
            return "nothing is kept outside the context"
        if not self._memory.can_restore:
            return f"the states of a {self._memory.kind} memory cannot be checked, none is restored"
        return ""

    async def _ask_alone(self) -> None:
        answered: list[Answered] = []
        for question in self._questions:
            trace = await self._ask(question, use_cache=False)
            self._alone[question.number] = trace
            answered.append(Answered(question, trace, trace))
        self._judge("alone", answered)

    async def _ask_together(
        self, name: str, *, use_cache: bool, expectation: Expectation = Expectation.NOTHING
    ) -> None:
        """All questions at once."""

        async def one(question: Question) -> Answered:
            trace = await self._ask(question, use_cache=use_cache)
            return Answered(question, self._alone[question.number], trace)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(question)) for question in self._questions]
        except* EngineStopped:
            raise EngineStopped from None
        self._judge(name, [task.result() for task in tasks], expectation)

    @asynccontextmanager
    async def _prefilling(self) -> AsyncIterator[None]:
        """Meanwhile a long prompt is computed, over and over."""

        async def go_on() -> None:
            while True:
                await ask(self._engine, self._long, 1, use_cache=False)

        task = asyncio.create_task(go_on())
        try:
            yield
        finally:
            await _cancel(task)

    async def _restore(self) -> None:
        """Agents whose cache goes away between two turns, and comes back."""
        agents = [await self._take_first_turn(question) for question in self._first_turns]
        for agent in agents:
            await self._engine.spill(agent.name)
        await self._take_next_turns("restored from RAM", agents)
        if self._restart is not None:
            self._engine = await self._restart()
            await self._take_next_turns("restored from disk", agents)

    async def _take_first_turn(self, question: Question) -> _Agent:
        name = f"self-test/{uuid4().hex}"
        said = await self._ask(question, use_cache=True, agent=name)
        return _Agent(name, question, question.prompt + said.tokens)

    async def _take_next_turns(self, name: str, agents: Sequence[_Agent]) -> None:
        answered: list[Answered] = []
        for agent in agents:
            first = agent.first
            prompt = agent.history + self._next_turn
            question = Question(first.number, prompt, first.reproducible)
            said = await self._ask(question, use_cache=True, agent=agent.name)
            alone = await self._ask(question, use_cache=False)
            answered.append(Answered(question, alone, said))
            agent.history = prompt + said.tokens
        self._judge(name, answered, Expectation.RESTORED)

    async def _ask(self, question: Question, *, use_cache: bool, agent: str | None = None) -> Trace:
        trace = await ask(self._engine, question, NUM_TOKENS, use_cache=use_cache, agent=agent)
        self._done += 1
        self._tell(Progress(self._done, self._total))
        return trace

    def _judge(
        self,
        name: str,
        answered: Sequence[Answered],
        expectation: Expectation = Expectation.NOTHING,
    ) -> None:
        for kind in KINDS:
            own = [one for one in answered if one.question.kind == kind]
            self._tell(judge(name, kind, own, expectation, self._tolerance))

    def _tell(self, report: Report) -> None:
        if isinstance(report, Check) and report.verdict is Verdict.FAILED:
            self._ok = False
        self._reports.put_nowait(report)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task
