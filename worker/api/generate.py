"""The way every dialect takes into the engine, and its refusals."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from worker.api.errors import ApiError, invalid
from worker.api.service import LoadedModel
from worker.chat.prompt import encode_prompt
from worker.engine.errors import EngineBusy, EngineStopped, PromptTooLong
from worker.engine.events import Failed, Finished
from worker.engine.params import SamplingParams
from worker.engine.request import GenerateRequest
from worker.engine.stream import Generation
from worker.log import request_id


async def start_generation(
    model: LoadedModel, prompt: str, params: SamplingParams, *, reproducible: bool, field: str
) -> Generation:
    """Tokenise and queue. `field` is what the prompt is called in the request.

    Raises ApiError: 400 when it does not fit, 429 when the queue is full, 503 when stopping.
    """
    tokens = await asyncio.to_thread(encode_prompt, model.vocab, prompt)
    if not tokens:
        raise invalid(f"{field} holds nothing that the model can read", field)
    name = f"{request_id.get()}-{uuid4().hex[:12]}"
    try:
        return model.engine.generate(GenerateRequest(name, tokens, params, reproducible))
    except PromptTooLong as error:
        raise ApiError(
            400,
            "PROMPT_TOO_LONG",
            f"{field} holds {error.tokens} tokens; "
            f"at most {error.limit} fit into this worker's context",
            field=field,
            openai_code="context_length_exceeded",
            prompt_tokens=error.tokens,
            limit=error.limit,
        ) from None
    except EngineBusy as error:
        raise ApiError(
            429,
            "BUSY",
            str(error),
            openai_code="rate_limit_exceeded",
            retry_after_s=error.retry_after_s,
        ) from None
    except EngineStopped as error:
        raise ApiError(503, "DRAINING", str(error), retry_after_s=10) from None


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
