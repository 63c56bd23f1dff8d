"""What is computed beside the steps: in pieces, dropped when nobody waits, never in the way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator

import pytest

from tests.fakes.runner import FakeRunner
from tests.worker.engine.test_loop import engine_on, request, run
from worker.engine.errors import EngineBusy, EngineStopped
from worker.engine.runner import ModelRunner, RunnerError


class Count:
    """Work of so many pieces, or without end; `went_on` whenever one is done."""

    def __init__(self, pieces: int | None = None) -> None:
        self.done = 0
        self.steps: list[int] = []
        self.was_closed = threading.Event()
        self.went_on = threading.Event()
        self._pieces = pieces

    def __call__(self, runner: ModelRunner) -> Generator[None, None, int]:
        assert isinstance(runner, FakeRunner)
        try:
            while self.done != self._pieces:
                self.done += 1
                self.steps.append(len(runner.batches))
                self.went_on.set()
                yield
            return self.done
        finally:
            self.was_closed.set()


def test_the_result_comes_and_the_next_job_has_its_turn() -> None:
    async def test() -> None:
        async with engine_on(FakeRunner()) as engine:
            assert await engine.compute(Count(3)) == 3
            assert await asyncio.gather(*[engine.compute(Count(n)) for n in (5, 1)]) == [5, 1]
            assert not engine.is_computing

    run(test)


def test_each_piece_waits_for_a_step_of_those_who_generate() -> None:
    async def test() -> None:
        runner = FakeRunner()
        async with engine_on(runner) as engine:
            generation = engine.generate(request("a", max_tokens=200))
            await generation.__anext__()
            count = Count(20)
            await engine.compute(count)
            assert len(set(count.steps)) == 20, "two pieces without a step between them"
            generation.cancel()
            assert [event async for event in generation]

    run(test)


def test_work_that_nobody_waits_for_is_dropped() -> None:
    async def test() -> None:
        async with engine_on(FakeRunner()) as engine:
            count = Count()
            waiting = asyncio.create_task(engine.compute(count))
            await asyncio.to_thread(count.went_on.wait)
            waiting.cancel()
            await asyncio.to_thread(count.was_closed.wait)
            assert await engine.compute(Count(1)) == 1

    run(test)


def test_a_failure_is_that_of_one() -> None:
    def refuses(runner: ModelRunner) -> Generator[None, None, int]:
        yield
        raise RunnerError("no room", code="NO_ROOM")

    def has_a_bug(runner: ModelRunner) -> Generator[None, None, int]:
        raise ValueError("a bug")

    async def test() -> None:
        async with engine_on(FakeRunner()) as engine:
            for job, code in ((refuses, "NO_ROOM"), (has_a_bug, "INTERNAL")):
                with pytest.raises(RunnerError) as error:
                    await engine.compute(job)
                assert error.value.code == code
            assert await engine.compute(Count(2)) == 2

    run(test)


def test_it_counts_as_in_flight() -> None:
    async def test() -> None:
        async with engine_on(FakeRunner(num_slots=1), max_waiting=0) as engine:
            count = Count()
            waiting = asyncio.create_task(engine.compute(count))
            await asyncio.to_thread(count.went_on.wait)
            with pytest.raises(EngineBusy):
                await engine.compute(Count(1))
            with pytest.raises(EngineBusy):
                engine.generate(request("a"))
            waiting.cancel()

    run(test)


def test_stopping_ends_it() -> None:
    async def test() -> None:
        async with engine_on(FakeRunner()) as engine:
            count = Count()
            waiting = asyncio.create_task(engine.compute(count))
            await asyncio.to_thread(count.went_on.wait)
            await engine.stop(0.0)
            with pytest.raises(EngineStopped):
                await waiting
            assert count.was_closed.is_set()
            with pytest.raises(EngineStopped):
                await engine.compute(Count(1))

    run(test)
