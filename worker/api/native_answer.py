"""An answer in llorch's own words: a stream of small events, or all of it at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from worker.api.generate import failure
from worker.api.json_text import json_logprob, to_json
from worker.api.service import Jobs
from worker.api.sse import encode
from worker.engine.events import EngineEvent, Failed, Finished, Timings, TokenEvent
from worker.engine.stream import Generation
from worker.log import request_id

Record = dict[str, Any]


async def native_stream(
    generation: Generation, jobs: Jobs, job_id: str, *, with_metrics: bool
) -> AsyncGenerator[bytes, None]:
    """`started`, then a `token` for each, `metrics` if wanted, and `end` or `error`."""
    with jobs.running(job_id, generation.request_id):
        async with aclosing(generation):
            yield encode({"type": "started", "job_id": job_id})
            while events := await generation.next_events():
                yield b"".join([_frames(event, with_metrics=with_metrics) for event in events])


async def native_whole(
    generation: Generation, jobs: Jobs, job_id: str, *, with_metrics: bool
) -> Record:
    """What the stream would have said, as one object; also of one that was cancelled. Tokens are
    listed where log-probabilities were asked for. Raises ApiError when it fails."""
    text: list[str] = []
    tokens: list[Record] = []
    with jobs.running(job_id, generation.request_id):
        async with aclosing(generation):
            async for event in generation:
                if isinstance(event, Failed):
                    raise failure(event)
                text.append(event.text)
                if isinstance(event, Finished):
                    break
                if event.logprob is not None:
                    tokens.append(_rich_token(event))
    assert isinstance(event, Finished), "every generation ends"
    whole: Record = {"job_id": job_id, "text": "".join(text)}
    if tokens:
        whole["tokens"] = tokens
    if with_metrics:
        whole["metrics"] = _metrics(event.timings)
    tokens_out = event.timings.completion_tokens
    return whole | {"tokens_out": tokens_out, "stop_reason": event.reason}


def _frames(event: EngineEvent, *, with_metrics: bool) -> bytes:
    if isinstance(event, TokenEvent):
        return _token(event)
    if isinstance(event, Failed):
        return encode(_error(event))
    return _end(event, with_metrics=with_metrics)


def _token(event: TokenEvent) -> bytes:
    """One for each sampled token; its text is empty while a character is incomplete."""
    if event.logprob is None:
        return _plain_token(event.text, event.index)
    return encode(_rich_token(event))


def _rich_token(event: TokenEvent) -> Record:
    assert event.logprob is not None, "asked for"
    top = [
        {
            "id": top.token_id,
            "t": top.raw.decode(errors="replace"),
            "logprob": json_logprob(top.logprob),
        }
        for top in event.top_logprobs
    ]
    return {
        "type": "token",
        "t": event.text,
        "i": event.index,
        "id": event.token_id,
        "logprob": json_logprob(event.logprob),
        "top_logprobs": top,
    }


def _plain_token(text: str, index: int) -> bytes:
    # Nearly all that is ever sent is of this form, so it is put together by hand.
    return b'data: {"type":"token","t":%b,"i":%d}\n\n' % (to_json(text), index)


def _end(event: Finished, *, with_metrics: bool) -> bytes:
    timings = event.timings
    frames = []
    if event.text:  # held back until it was certain that no stop string follows
        frames.append(_plain_token(event.text, timings.completion_tokens))
    if with_metrics:
        frames.append(encode({"type": "metrics"} | _metrics(timings)))
    tokens_out = timings.completion_tokens
    end = {"type": "end", "tokens_out": tokens_out, "stop_reason": event.reason}
    return b"".join([*frames, encode(end)])


def _error(event: Failed) -> Record:
    return {
        "type": "error",
        "code": event.code,
        "message": event.message,
        "retriable": event.retriable,
        "request_id": request_id.get(),
    }


def _metrics(timings: Timings) -> Record:
    """Seconds and tokens; the rate is that of the tokens after the first."""
    later = max(0, timings.completion_tokens - 1)
    return {
        "queued_s": round(timings.queued_s, 6),
        "prefill_s": round(timings.prefill_s, 6),
        "decode_s": round(timings.decode_s, 6),
        "ttft_s": round(timings.queued_s + timings.prefill_s, 6),
        "tokens_per_s": round(later / timings.decode_s, 3) if timings.decode_s > 0 else 0.0,
        "prompt_tokens": timings.prompt_tokens,
        "cached_tokens": timings.cached_tokens,
        "restored_tokens": timings.restored_tokens,
        "completion_tokens": timings.completion_tokens,
        "drafted": timings.drafted,
        "accepted": timings.accepted,
        "request_id": request_id.get(),
    }
