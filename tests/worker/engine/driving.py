"""Driving an Engine on a scripted runner in the test's own thread."""

from __future__ import annotations

import threading

from tests.fakes.runner import FakeRunner
from worker.engine.engine import Engine
from worker.engine.events import EngineEvent, Finished, TokenEvent
from worker.engine.params import SamplingParams
from worker.engine.request import GenerateRequest


def text_of(length: int, start: int = 0) -> bytes:
    """Bytes without a period: no two windows of four are alike."""
    return b"".join(b"%d;" % n for n in range(start, start + length))[:length]


def request(
    name: str,
    prompt: bytes,
    max_tokens: int = 4,
    *,
    agent: str | None = None,
    reproducible: bool = False,
    use_cache: bool = True,
) -> GenerateRequest:
    params = SamplingParams(max_tokens=max_tokens)
    return GenerateRequest(name, tuple(prompt), params, reproducible, agent, use_cache)


def run(engine: Engine, *requests: GenerateRequest) -> dict[str, Finished]:
    """All of them at once, to the end; how each ended. Waits for what is being fetched."""
    arrived = threading.Event()
    engine.on_arrival(arrived.set)
    for one in requests:
        engine.add(one)
    events: list[EngineEvent] = []
    while not engine.is_empty:
        if not engine.has_work:
            assert arrived.wait(10), "nothing arrived"
            arrived.clear()
        events += engine.step()
        engine.check_integrity()
    ends = {e.request_id: e for e in events if not isinstance(e, TokenEvent)}
    assert all(isinstance(end, Finished) for end in ends.values()), ends
    return {name: end for name, end in ends.items() if isinstance(end, Finished)}


def cached(engine: Engine, *requests: GenerateRequest) -> list[int]:
    """How many prompt tokens of each came from the cache."""
    ends = run(engine, *requests)
    return [ends[one.request_id].timings.cached_tokens for one in requests]


def computed(runner: FakeRunner) -> int:
    """All tokens computed so far, of prompts and of answers."""
    return sum(size for shape in runner.shapes for _, _, size in shape)
