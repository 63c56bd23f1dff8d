from __future__ import annotations

import asyncio
import random
import threading

import psutil
import pytest

from tests.worker.llama.conftest import model_path
from worker.engine.async_engine import AsyncEngine
from worker.engine.cache.archive import Archive
from worker.engine.errors import EngineBusy
from worker.engine.events import Failed, Finished
from worker.engine.params import SamplingParams
from worker.engine.request import GenerateRequest
from worker.llama.options import LoadOptions
from worker.llama.runner import LlamaRunner

CANCELS = 1000
AT_ONCE = 12


async def one(engine: AsyncEngine, name: str, mood: random.Random) -> int:
    """A request that is dropped at a random moment; how many terminal events it got."""
    prompt = tuple(mood.randrange(300, 4000) for _ in range(mood.randrange(1, 400)))
    agent = mood.choice((None, None, f"agent {mood.randrange(8)}"))
    request = GenerateRequest(
        name, prompt, SamplingParams(max_tokens=60, ignore_eos=True), mood.random() < 0.2, agent
    )
    while True:
        try:
            generation = engine.generate(request)
            break
        except EngineBusy:
            await asyncio.sleep(0.01)
    keep, ends = mood.randrange(0, 50), 0
    if mood.random() < 0.5:
        asyncio.get_running_loop().call_later(mood.random() / 20, engine.cancel, name)
        keep = 1000
    async for event in generation:
        ends += isinstance(event, Finished | Failed)
        keep -= 1
        if keep <= 0:
            break
    await generation.aclose()
    return ends


@pytest.mark.timeout(400)
def test_a_thousand_cancels_leave_nothing_behind() -> None:
    runner = LlamaRunner.load(LoadOptions(model_path("ref-llama"), ctx=4096, slots=8))
    threads = threading.active_count()

    async def play() -> None:
        engine = AsyncEngine(runner, archive=Archive(ram_bytes=4 << 20), max_running=8)
        engine.start()
        gate = asyncio.Semaphore(AT_ONCE)
        sizes: list[int] = []

        async def bounded(n: int) -> int:
            async with gate:
                ends = await one(engine, f"{n}", random.Random(n))
                if n % 100 == 0:
                    sizes.append(psutil.Process().memory_info().rss)
                return ends

        ends = await asyncio.gather(*(bounded(n) for n in range(CANCELS)))
        assert all(count <= 1 for count in ends)
        while engine.stats().running or engine.stats().waiting:
            await asyncio.sleep(0.01)
        await engine.check_integrity()
        stats = engine.stats()
        assert stats.requests_total == CANCELS
        assert stats.failed_total == 0
        assert sizes[-1] - sizes[len(sizes) // 2] < 16 << 20
        end = await one(engine, "after", random.Random(3))
        assert end <= 1
        await engine.stop(1.0)

    asyncio.run(play())
    assert threading.active_count() <= threads
    runner.close()
