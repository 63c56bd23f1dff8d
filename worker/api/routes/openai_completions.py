"""`POST /v1/completions`."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Request
from starlette.responses import Response

from worker.api.agent import read_agent
from worker.api.body import read_body
from worker.api.deps import ModelDep
from worker.api.describe import takes
from worker.api.errors import invalid
from worker.api.generate import default_max_tokens, submit_all
from worker.api.json_text import to_json
from worker.api.prompts import ReadPrompt, read_gap, read_prompts
from worker.api.routes.models import check_model
from worker.api.sampling import ready_params
from worker.api.schemas.openai_completions import CompletionRequest
from worker.api.service import LoadedModel
from worker.api.sse import PING_EVERY_S, EventStream, while_connected
from worker.api.text_answer import Asked, TextAnswer
from worker.engine.params import SamplingParams
from worker.engine.request import GenerateRequest
from worker.engine.stream import Generation

router = APIRouter()


@router.post("/v1/completions", **takes(CompletionRequest))
async def completions(request: Request, model: ModelDep) -> Response:
    body = await read_body(request, CompletionRequest)
    check_model(model, body.model)
    context = model.engine.max_sequence_tokens
    params = body.sampling(default_max_tokens(context))
    body.check_length(params, context)
    params = await ready_params(model, params, body.form())
    prompts = await _prompts(model, body)
    generations: list[Generation] = []
    if not body.only_echoes:
        agent = read_agent(request, body.session_id, "session_id")
        generations = await _start(model, body, prompts, params, agent)
    asked = Asked(
        prompts,
        body.num_choices,
        body.logprobs,
        echoes=bool(body.echo),
        with_usage=body.wants_usage,
    )
    answer = TextAnswer(model, asked, generations)
    if body.stream:
        return EventStream(answer.stream(), ping_every_s=PING_EVERY_S)
    whole = await while_connected(request.receive, answer.whole())
    return Response(to_json(whole), media_type="application/json")


async def _prompts(model: LoadedModel, body: CompletionRequest) -> list[ReadPrompt]:
    """Raises ApiError 400."""
    num_choices = len(body.prompt) * body.num_choices
    if num_choices > model.engine.max_in_flight:
        reason = f"asks for {num_choices} answers; at most {model.engine.max_in_flight} may wait"
        raise invalid(f"prompt {reason}", "prompt")
    limit = model.engine.max_prompt_tokens
    prompts = await read_prompts(model, body.prompt, field="prompt", limit=limit)
    if not body.suffix:
        return prompts
    return [
        replace(one, tokens=await read_gap(model, one.text, body.suffix, limit=limit))
        for one in prompts
    ]


async def _start(
    model: LoadedModel,
    body: CompletionRequest,
    prompts: list[ReadPrompt],
    params: SamplingParams,
    agent: str | None,
) -> list[Generation]:
    requests = [
        GenerateRequest(
            "",
            prompt.tokens,
            params,
            body.is_reproducible,
            agent,
            body.uses_cache,
            priority=body.priority or 0,
        )
        for prompt in prompts
    ]
    return await submit_all(model, requests, body.num_choices, field="prompt")
