"""Several answers to one prompt: started together, read together, ended together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from worker.engine.events import EngineEvent
from worker.engine.params import SamplingParams
from worker.engine.stream import Generation

_NUM_SEEDS = 1 << 64


def params_of(params: SamplingParams, index: int) -> SamplingParams:
    """Those of one choice: with a seed, each choice has the next."""
    if params.seed is None or index == 0:
        return params
    seed = params.seed + index
    return replace(params, seed=seed if seed < _NUM_SEEDS else seed - _NUM_SEEDS)


async def read_choices(
    generations: Sequence[Generation],
) -> AsyncGenerator[tuple[int, list[EngineEvent]], None]:
    """What comes of each, with its index, until all have ended. Closing it cancels them all."""
    try:
        if len(generations) == 1:
            while events := await generations[0].next_events():
                yield 0, events
        else:
            async with aclosing(_merged(generations)) as choices:
                async for choice in choices:
                    yield choice
    finally:
        for generation in generations:
            await generation.aclose()


async def _merged(
    generations: Sequence[Generation],
) -> AsyncGenerator[tuple[int, list[EngineEvent]], None]:
    reading = {asyncio.ensure_future(one.next_events()): at for at, one in enumerate(generations)}
    try:
        while reading:
            done, _ = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=reading.__getitem__):
                index = reading.pop(task)
                if events := task.result():
                    upcoming = asyncio.ensure_future(generations[index].next_events())
                    reading[upcoming] = index
                    yield index, events
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
