"""The way every dialect takes into the engine, and its refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar
from uuid import uuid4

from worker.api.choices import params_of
from worker.api.errors import ApiError, invalid
from worker.api.service import LoadedModel
from worker.api.visit import visit
from worker.chat.prompt import Prompt, encode_prompt
from worker.engine.errors import EngineBusy, EngineStopped, PromptTooLong
from worker.engine.events import Failed, Finished
from worker.engine.params import SamplingParams
from worker.engine.request import GenerateRequest
from worker.engine.stream import Generation
from worker.log import request_id

T = TypeVar("T")

_LONG_PROMPT = 1 << 18  # characters
_long_prompts = ThreadPoolExecutor(1, "long-prompts")


async def start_generation(
    model: LoadedModel,
    prompt: Prompt | str,
    params: SamplingParams,
    *,
    reproducible: bool,
    field: str,
    agent: str | None = None,
    use_cache: bool = True,
) -> Generation:
    """Tokenise and queue. `field` is what the prompt is called in the request.

    Raises ApiError: 400 when it does not fit, 429 when the queue is full, 503 when stopping.
    """
    tokens = await read_prompt(model, prompt, field=field)
    request = GenerateRequest(new_id(), tokens, params, reproducible, agent, use_cache)
    return submit(model, request, field=field)


async def start_choices(
    model: LoadedModel,
    prompt: Prompt | str,
    params: SamplingParams,
    count: int,
    *,
    reproducible: bool,
    field: str,
    agent: str | None = None,
    use_cache: bool = True,
    with_specials: bool = False,
    priority: int = 0,
) -> list[Generation]:
    """Several generations of one prompt, all or none; the engine computes it once.

    Only the first is the agent's: what an agent asks runs one after the other.
    """
    tokens = await read_prompt(model, prompt, field=field)
    request = GenerateRequest(
        "", tokens, params, reproducible, agent, use_cache, with_specials, priority
    )
    return await submit_all(model, [request], count, field=field)


async def submit_all(
    model: LoadedModel, requests: Sequence[GenerateRequest], count: int, *, field: str
) -> list[Generation]:
    """`count` generations of each, named here, one request's after the other's; all or none.
    Raises ApiError as start_generation does."""
    generations: list[Generation] = []
    try:
        for request in requests:
            for index in range(count):
                one = replace(
                    request,
                    request_id=new_id(),
                    params=params_of(request.params, index),
                    agent=None if generations else request.agent,
                )
                generations.append(submit(model, one, field=field))
    except ApiError:
        for generation in generations:
            await generation.aclose()
        raise
    return generations


async def read_prompt(model: LoadedModel, prompt: Prompt | str, *, field: str) -> tuple[int, ...]:
    """Raises ApiError 400 when nothing is left of it, or it cannot fit whatever its tokens are."""
    size = len(prompt if isinstance(prompt, str) else prompt.text)
    limit = model.engine.max_prompt_tokens
    at_least = size // model.vocab.longest_token
    if at_least > limit:
        raise too_long(field, at_least, limit)
    tokens = await tokenise_off_loop(size, partial(encode_prompt, model.vocab, prompt))
    if not tokens:
        raise invalid(f"{field} holds nothing that the model can read", field)
    return tokens


async def tokenise_off_loop(size: int, tokenise: Callable[[], T]) -> T:
    """For a text of so many characters. Megabytes take seconds: they wait for each other, and
    nobody else for them."""
    executor = _long_prompts if size > _LONG_PROMPT else None
    return await asyncio.get_running_loop().run_in_executor(executor, tokenise)


def default_max_tokens(context: int) -> int:
    """How long an answer may get when nobody said. One that never ends would come to hold the
    whole context, at the cost of everybody else."""
    return max(1024, context // 8)


def new_id() -> str:
    """For the engine; begins with the HTTP request's."""
    return f"{request_id.get()}-{uuid4().hex[:12]}"


def submit(model: LoadedModel, request: GenerateRequest, *, field: str) -> Generation:
    """Queue. Raises ApiError as start_generation does."""
    passed = visit.get()
    try:
        if passed is None:
            return model.engine.generate(request)
        request = replace(request, priority=passed.priority_of(request.priority))
        return model.engine.generate(request, passed.on_end)
    except PromptTooLong as error:
        raise too_long(field, error.tokens, error.limit) from None
    except EngineBusy as error:
        raise busy(error) from None
    except EngineStopped as error:
        raise stopping(error) from None


def too_long(field: str, tokens: int, limit: int) -> ApiError:
    return ApiError(
        400,
        "PROMPT_TOO_LONG",
        f"{field} holds {tokens} tokens; at most {limit} fit into this worker's context",
        field=field,
        openai_code="context_length_exceeded",
        prompt_tokens=tokens,
        limit=limit,
    )


def busy(error: EngineBusy) -> ApiError:
    return ApiError(
        429,
        "BUSY",
        str(error),
        openai_code="rate_limit_exceeded",
        retry_after_s=error.retry_after_s,
    )


def stopping(error: EngineStopped) -> ApiError:
    return ApiError(503, "DRAINING", str(error), retry_after_s=10)


def failure(event: Failed) -> ApiError:
    """A generation that broke, for clients that have no answer yet."""
    if event.retriable:
        return ApiError(503, event.code, event.message, retry_after_s=1)
    return ApiError(500, event.code, event.message)


def cut_off(event: Finished) -> ApiError:
    """A generation that was cancelled from outside: what there is of it is not an answer."""
    return ApiError(
        503, "CANCELLED", "the request was cancelled before it was complete", retry_after_s=1
    )
