"""`POST /v1/chat/completions`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from worker.api.agent import read_agent
from worker.api.body import read_body
from worker.api.chat_answer import ChatAnswer
from worker.api.deps import ModelDep
from worker.api.describe import takes
from worker.api.generate import default_max_tokens
from worker.api.json_text import to_json
from worker.api.routes.models import check_model
from worker.api.schemas.openai_chat import ChatRequest
from worker.api.sse import PING_EVERY_S, EventStream, while_connected
from worker.api.turn import Turn, start_turn

router = APIRouter()


@router.post("/v1/chat/completions", **takes(ChatRequest))
async def chat_completions(request: Request, model: ModelDep) -> Response:
    body = await read_body(request, ChatRequest)
    check_model(model, body.model)
    context = model.engine.max_sequence_tokens
    params = body.sampling(default_max_tokens(context))
    body.check_length(params, context)
    turn = Turn(
        body.conversation(),
        params,
        body.form(),
        body.num_choices,
        reproducible=body.is_reproducible,
        agent=read_agent(request, body.session_id, "session_id"),
        use_cache=body.uses_cache,
        priority=body.priority or 0,
    )
    answer = ChatAnswer(
        await start_turn(model, turn),
        model.id,
        model.info.build,
        with_logprobs=bool(body.logprobs),
        with_usage=body.wants_usage,
        as_function=body.wants_function_call,
    )
    if body.stream:
        return EventStream(answer.stream(), ping_every_s=PING_EVERY_S)
    whole = await while_connected(request.receive, answer.whole())
    return Response(to_json(whole), media_type="application/json")
