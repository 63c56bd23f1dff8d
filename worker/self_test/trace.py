"""What one request was answered, kept to be compared."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from uuid import uuid4

from worker.engine.async_engine import AsyncEngine
from worker.engine.errors import EngineBusy
from worker.engine.events import Failed, Finished, Timings, TokenEvent, TopLogprob
from worker.engine.params import SamplingParams
from worker.engine.request import GenerateRequest

NUM_TOP = 5
KINDS = ("reproducible", "ordinary")


@dataclass(frozen=True, slots=True)
class Step:
    """One token of an answer, and how likely it and the likeliest were."""

    token_id: int
    raw: bytes
    logprob: float
    top: tuple[TopLogprob, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """A whole answer. `error` is why there is none, "" otherwise."""

    steps: tuple[Step, ...] = ()
    timings: Timings = Timings()
    error: str = ""

    @property
    def tokens(self) -> tuple[int, ...]:
        return tuple(step.token_id for step in self.steps)


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt and how it is to be computed. `number` is what a person knows it by."""

    number: int
    prompt: tuple[int, ...]
    reproducible: bool

    @property
    def kind(self) -> str:
        return KINDS[not self.reproducible]


async def ask(
    engine: AsyncEngine,
    question: Question,
    num_tokens: int,
    *,
    use_cache: bool,
    agent: str | None = None,
) -> Trace:
    """Greedy, `num_tokens` long whatever the model says. Waits for its turn on a busy engine.

    Raises EngineStopped and PromptTooLong.
    """
    request = GenerateRequest(
        f"self-test-{uuid4().hex}",
        question.prompt,
        SamplingParams(max_tokens=num_tokens, logprobs=NUM_TOP, ignore_eos=True),
        reproducible=question.reproducible,
        agent=agent,
        use_cache=use_cache,
    )
    while True:
        try:
            generation = engine.generate(request)
        except EngineBusy as busy:
            await asyncio.sleep(busy.retry_after_s)
        else:
            break
    steps: list[Step] = []
    async with aclosing(generation):
        async for event in generation:
            match event:
                case TokenEvent(logprob=float(logprob)):
                    steps.append(Step(event.token_id, event.raw, logprob, event.top_logprobs))
                case Finished(timings=timings):
                    return Trace(tuple(steps), timings)
                case Failed():
                    return Trace(tuple(steps), error=f"{event.code}: {event.message}")
    return Trace(tuple(steps), error="the answer broke off")
