"""`POST /execute`: a raw prompt, answered as a stream without clock values; and `POST /cancel`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request

from worker.api.agent import read_agent
from worker.api.body import read_body
from worker.api.deps import LoadedModelDep, ModelDep, ServiceDep
from worker.api.generate import start_generation
from worker.api.json_text import json_logprob, to_json
from worker.api.sampling import ready_params
from worker.api.schemas.execute import CancelRequest, ExecuteRequest
from worker.api.service import Jobs
from worker.api.sse import EventStream, encode
from worker.engine.events import EngineEvent, Failed, Finished, Timings, TokenEvent
from worker.engine.stream import Generation
from worker.log import request_id

router = APIRouter()
Record = dict[str, Any]


@router.post("/execute")
async def execute(request: Request, service: ServiceDep, model: ModelDep) -> EventStream:
    body = await read_body(request, ExecuteRequest)
    params = await ready_params(model, body.sampling(), body.form())
    generation = await start_generation(
        model,
        body.prompt,
        params,
        reproducible=body.reproducible,
        field="prompt",
        agent=read_agent(request, body.agent, "agent"),
        use_cache=body.cache_prompt,
    )
    return EventStream(_stream(body, generation, service.jobs))


@router.post("/cancel")
async def cancel(request: Request, service: ServiceDep, model: LoadedModelDep) -> dict[str, int]:
    body = await read_body(request, CancelRequest)
    ids = service.jobs.request_ids(body.job_id)
    return {"cancelled": sum(model.engine.cancel(name) for name in ids)}


async def _stream(
    body: ExecuteRequest, generation: Generation, jobs: Jobs
) -> AsyncGenerator[bytes, None]:
    with jobs.running(body.job_id, generation.request_id):
        async with aclosing(generation):
            yield encode({"type": "started", "job_id": body.job_id})
            while events := await generation.next_events():
                yield b"".join([_frames(event, with_metrics=body.metrics) for event in events])


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
    top = [
        {
            "id": top.token_id,
            "t": top.raw.decode(errors="replace"),
            "logprob": json_logprob(top.logprob),
        }
        for top in event.top_logprobs
    ]
    return encode(
        {
            "type": "token",
            "t": event.text,
            "i": event.index,
            "id": event.token_id,
            "logprob": json_logprob(event.logprob),
            "top_logprobs": top,
        }
    )


def _plain_token(text: str, index: int) -> bytes:
    # Nearly all that is ever sent is of this form, so it is put together by hand.
    return b'data: {"type":"token","t":%b,"i":%d}\n\n' % (to_json(text), index)


def _end(event: Finished, *, with_metrics: bool) -> bytes:
    timings = event.timings
    frames = []
    if event.text:  # held back until it was certain that no stop string follows
        frames.append(_plain_token(event.text, timings.completion_tokens))
    if with_metrics:
        frames.append(encode(_metrics(timings)))
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
        "type": "metrics",
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
