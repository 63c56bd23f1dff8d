"""`POST /v1/chat/completions`."""

from __future__ import annotations

import asyncio
from datetime import datetime

from fastapi import APIRouter, Request
from starlette.responses import Response

from worker.api.agent import read_agent
from worker.api.body import read_body
from worker.api.chat_answer import ChatAnswer
from worker.api.deps import ModelDep
from worker.api.errors import invalid
from worker.api.generate import start_choices
from worker.api.json_text import to_json
from worker.api.routes.models import check_model
from worker.api.sampling import ready_params
from worker.api.schemas.openai_chat import ChatRequest
from worker.api.service import LoadedModel
from worker.api.sse import PING_EVERY_S, EventStream, while_connected
from worker.chat.messages import Conversation
from worker.chat.template import TemplateFailed

router = APIRouter()


@router.post("/v1/chat/completions")
async def chat_completions(request: Request, model: ModelDep) -> Response:
    body = await read_body(request, ChatRequest)
    check_model(model, body.model)
    params = body.sampling(default_max_tokens(model.engine.max_sequence_tokens))
    generations = await start_choices(
        model,
        await _render(model, body),
        await ready_params(model, params, body.form()),
        body.num_choices,
        reproducible=body.is_reproducible,
        field="messages",
        agent=read_agent(request, body.session_id, "session_id"),
        use_cache=body.uses_cache,
    )
    answer = ChatAnswer(
        model.id,
        model.info.build,
        with_logprobs=bool(body.logprobs),
        with_usage=body.wants_usage,
    )
    if body.stream:
        return EventStream(answer.stream(generations), ping_every_s=PING_EVERY_S)
    whole = await while_connected(request.receive, answer.whole(generations))
    return Response(to_json(whole), media_type="application/json")


def default_max_tokens(context: int) -> int:
    """How long an answer may get when nobody said. One that never ends would come to hold the
    whole context, at the cost of everybody else."""
    return max(1024, context // 8)


async def _render(model: LoadedModel, body: ChatRequest) -> str:
    messages = tuple(message.normalised() for message in body.messages)
    conversation = Conversation(messages, variables=body.template_variables())
    try:
        prompt = await asyncio.to_thread(model.chat.render, conversation, datetime.now())
        return prompt.text
    except TemplateFailed as error:
        raise invalid(f"messages: {error}", "messages") from None
