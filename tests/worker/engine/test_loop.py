from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.fakes.runner import FakeRunner, broken
from worker.engine import loop as loop_module
from worker.engine.async_engine import AsyncEngine
from worker.engine.engine import Engine
from worker.engine.errors import EngineBusy, EngineStopped, PromptTooLong
from worker.engine.events import EngineEvent, Failed, Finished, FinishReason, TokenEvent
from worker.engine.loop import EngineLoop
from worker.engine.params import SamplingParams
from worker.engine.request import GenerateRequest
from worker.engine.stream import Generation

TIMEOUT_S = 20.0


def request(name: str, prompt: bytes = b"hello", max_tokens: int = 5) -> GenerateRequest:
    return GenerateRequest(name, tuple(prompt), SamplingParams(max_tokens=max_tokens))


@asynccontextmanager
async def engine_on(runner: FakeRunner, **limits: Any) -> AsyncIterator[AsyncEngine]:
    runner.step_s = 0.0002  # as with a model, most of the time nobody needs Python's lock
    engine = AsyncEngine(runner, drafts=False, **limits)
    engine.start()
    try:
        yield engine
    finally:
        runner.gate.set()
        await engine.stop(0.0)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await test()

    asyncio.run(bounded())


async def collect(generation: Generation) -> list[EngineEvent]:
    return [event async for event in generation]


def text(events: list[EngineEvent]) -> str:
    return "".join(e.text for e in events if isinstance(e, TokenEvent | Finished))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_a_generation_ends_with_its_one_terminal_event() -> None:
    async def test() -> None:
        async with engine_on(FakeRunner(b"hi")) as engine:
            events = await collect(engine.generate(request("a")))
            assert text(events) == "hi"
            assert [type(e) for e in events] == [TokenEvent, TokenEvent, Finished]

    run(test)


def test_many_at_once_each_get_their_own() -> None:
    async def test() -> None:
        async with engine_on(FakeRunner(num_slots=3)) as engine:
            names = [f"n{n}" for n in range(12)]
            answers = await asyncio.gather(
                *(collect(engine.generate(request(n, n.encode(), 4))) for n in names)
            )
            assert [text(events) for events in answers] == [(n * 4)[:4] for n in names]
            assert engine.stats().requests_total == 12

    run(test)


def test_closing_the_iterator_frees_the_slot_within_one_step() -> None:
    async def test() -> None:
        runner = FakeRunner()
        async with engine_on(runner) as engine:
            generation = engine.generate(request("a", max_tokens=2000))
            await anext(generation)
            await generation.aclose()
            steps = len(runner.batches)
            await until(lambda: engine.stats().running == 0)
            assert len(runner.batches) <= steps + 1
            with pytest.raises(StopAsyncIteration):
                await anext(generation)

    run(test)


def test_a_generation_that_nobody_holds_any_more_is_cancelled() -> None:
    async def test() -> None:
        async with engine_on(FakeRunner()) as engine:
            generation = engine.generate(request("a", max_tokens=2000))
            await anext(generation)
            del generation
            gc.collect()
            await until(lambda: engine.stats().cancelled_total == 1)

    run(test)


def test_cancel_by_name_ends_it_with_cancelled() -> None:
    async def test() -> None:
        async with engine_on(FakeRunner()) as engine:
            generation = engine.generate(request("a", max_tokens=2000))
            await anext(generation)
            assert engine.cancel("a")
            last = (await collect(generation))[-1]
            assert isinstance(last, Finished) and last.reason is FinishReason.CANCELLED
            assert not engine.cancel("a")
            assert not engine.cancel("nobody")

    run(test)


def test_it_refuses_what_it_cannot_take_before_the_first_event() -> None:
    async def test() -> None:
        runner = FakeRunner(num_slots=1)
        runner.gate.clear()
        async with engine_on(runner, max_waiting=2) as engine:
            taken = [engine.generate(request(f"{n}")) for n in range(3)]
            with pytest.raises(EngineBusy) as busy:
                engine.generate(request("one too many"))
            assert 1 <= busy.value.retry_after_s <= 60
            with pytest.raises(PromptTooLong) as too_long:
                engine.generate(request("long", b"x" * engine.max_prompt_tokens + b"x"))
            assert too_long.value.tokens == engine.max_prompt_tokens + 1
            with pytest.raises(PromptTooLong):
                engine.generate(request("empty", b""))
            runner.gate.set()
            assert [text(await collect(g)) for g in taken] == ["hello"] * 3
            assert text(await collect(engine.generate(request("now")))) == "hello"

    run(test)


def test_a_reader_that_stops_reading_is_cancelled_and_the_others_go_on() -> None:
    async def test() -> None:
        async with engine_on(FakeRunner(num_cells=40 * 256), max_buffered_events=1000) as engine:
            lazy = engine.generate(request("lazy", max_tokens=5000))
            busy = await collect(engine.generate(request("busy", max_tokens=100)))
            assert text(busy) == "hello" * 20
            await until(lambda: engine.stats().cancelled_total == 1)
            events = await collect(lazy)
            assert len(events) == 1001
            assert isinstance(events[-1], Failed) and events[-1].code == "SLOW_READER"

    run(test)


def test_a_decode_error_ends_each_with_one_failed_and_the_next_request_works() -> None:
    async def test() -> None:
        runner = FakeRunner(b"fine")
        runner.gate.clear()
        async with engine_on(runner) as engine:
            generations = [engine.generate(request(f"{n}")) for n in range(3)]
            runner.error = broken()
            runner.gate.set()
            answers = [await collect(g) for g in generations]
            # Those that had not been added by the first step are not in the failed batch.
            assert sum(isinstance(events[-1], Failed) for events in answers) >= 1
            assert all(
                text(events) == "fine" or [type(e) for e in events] == [Failed]
                for events in answers
            )
            assert text(await collect(engine.generate(request("after")))) == "fine"

    run(test)


def test_a_bug_in_the_runner_ends_requests_instead_of_hanging_them() -> None:
    async def test() -> None:
        runner = FakeRunner(b"fine")
        runner.error = ZeroDivisionError("a bug")
        async with engine_on(runner) as engine:
            (failed,) = await collect(engine.generate(request("a")))
            assert isinstance(failed, Failed)
            assert (failed.code, failed.message) == ("INTERNAL", "ZeroDivisionError: a bug")
            assert text(await collect(engine.generate(request("b")))) == "fine"

    run(test)


def test_stop_lets_what_runs_end_and_takes_nothing_new() -> None:
    async def test() -> None:
        runner = FakeRunner()
        runner.gate.clear()
        engine = AsyncEngine(runner)
        engine.start()
        reading = asyncio.create_task(collect(engine.generate(request("a", max_tokens=50))))
        stopping = asyncio.create_task(engine.stop(TIMEOUT_S))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(EngineStopped):
            engine.generate(request("late"))
        runner.gate.set()
        await stopping
        last = (await reading)[-1]
        assert isinstance(last, Finished) and last.reason is FinishReason.LENGTH
        assert not engine_threads()

    run(test)


def test_stop_cancels_what_takes_too_long() -> None:
    async def test() -> None:
        async with engine_on(FakeRunner(num_cells=400 * 256)) as engine:
            generation = engine.generate(request("a", max_tokens=100_000))
            await anext(generation)
            await engine.stop(0.01)
            last = (await collect(generation))[-1]
            assert isinstance(last, Finished) and last.reason is FinishReason.CANCELLED
            assert not engine_threads()

    run(test)


def test_events_cross_to_the_event_loop_once_for_each_step() -> None:
    async def test() -> None:
        runner = FakeRunner(num_slots=4)
        runner.gate.clear()
        crossings: list[int] = []
        async with engine_on(runner) as engine:
            deliver = engine._deliver

            def counting(events: list[EngineEvent]) -> Any:
                crossings.append(len(events))
                deliver(events)

            engine._deliver = counting  # type: ignore[method-assign]
            generations = [engine.generate(request(f"{n}", max_tokens=20)) for n in range(4)]
            runner.gate.set()
            await asyncio.gather(*(collect(g) for g in generations))
            assert len(crossings) <= len(runner.batches)
            assert sum(crossings) == 4 * 21

    run(test)


def engine_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "engine"]


def test_a_step_that_does_not_end_is_interrupted_and_the_engine_goes_on() -> None:
    async def test() -> None:
        runner = FakeRunner(b"fine")
        async with engine_on(runner, step_timeout_s=0.05) as engine:
            runner.gate.clear()
            (failed,) = await collect(engine.generate(request("a")))
            assert isinstance(failed, Failed) and (failed.code, failed.retriable) == (
                "ABORTED",
                True,
            )
            assert text(await collect(engine.generate(request("b")))) == "fine"

    run(test)


def test_a_step_that_cannot_be_interrupted_is_reported() -> None:
    async def test() -> None:
        runner = FakeRunner(b"fine")
        runner.interrupt = lambda: None  # type: ignore[method-assign]
        reports: list[str] = []
        async with engine_on(runner, step_timeout_s=0.05, on_stuck=reports.append) as engine:
            runner.gate.clear()
            generation = engine.generate(request("a"))
            await until(lambda: bool(reports))
            assert "cannot be stopped" in reports[0]
            runner.gate.set()
            assert text(await collect(generation)) == "fine"

    run(test)


def test_short_steps_cross_together_but_for_what_begins_or_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop_module, "_PUBLISH_EVERY_S", 1e9)
    published: list[list[EngineEvent]] = []
    has_ended = threading.Event()

    def publish(events: list[EngineEvent]) -> None:
        published.append(events)
        if isinstance(events[-1], Finished):
            has_ended.set()

    loop = EngineLoop(Engine(FakeRunner(b"abcdefgh"), drafts=False), publish)
    loop.start()
    try:
        loop.post(lambda engine: engine.add(request("a", max_tokens=8)))
        assert has_ended.wait(TIMEOUT_S)
    finally:
        loop.stop()
    assert [len(events) for events in published] == [1, 8]
    indices = [e.index for events in published for e in events if isinstance(e, TokenEvent)]
    assert indices == list(range(8))
