"""`POST /v1/messages` and `POST /v1/messages/count_tokens`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from worker.api.anthropic_agent import read_anthropic_agent
from worker.api.anthropic_answer import PING, PING_EVERY_S, MessageAnswer
from worker.api.anthropic_prompt import marks_cache, read_conversation, thoughts_of
from worker.api.body import read_body
from worker.api.deps import ModelDep
from worker.api.describe import takes
from worker.api.generate import read_prompt
from worker.api.json_text import to_json
from worker.api.routes.models import check_model
from worker.api.schemas.anthropic import CountTokensRequest, MessagesRequest
from worker.api.sse import EventStream, while_connected
from worker.api.turn import Turn, render, start_turn

router = APIRouter()


@router.post("/v1/messages", **takes(MessagesRequest))
async def messages(request: Request, model: ModelDep) -> Response:
    """A `max_tokens` that the context has no room for is no error: an answer that comes to the
    end of the context stops there with `model_context_window_exceeded`, after which Claude Code
    goes on as after `max_tokens`. Only a prompt without room for one token more is refused, as
    "prompt is too long: N tokens > M maximum", upon which Claude Code shortens its conversation.

    Anthropic's other refusal ("input length and `max_tokens` exceed context limit") is for models
    that keep what was asked for or nothing. Claude Code answers it with a second request, and
    gives up where fewer than 4,000 tokens are left, with its conversation as it was.
    """
    body = await read_body(request, MessagesRequest)
    check_model(model, body.model)
    turn = Turn(
        read_conversation(body),
        body.sampling(),
        form=body.form(),
        reproducible=body.is_reproducible,
        agent=read_anthropic_agent(request, body),
    )
    answer = await start_turn(model, turn)
    writer = MessageAnswer(
        model.id,
        max_tokens=body.max_tokens,
        thoughts=thoughts_of(body),
        marks_cache=marks_cache(body),
    )
    if body.stream:
        return EventStream(writer.stream(answer), ping_every_s=PING_EVERY_S, ping=PING)
    whole = await while_connected(request.receive, writer.whole(answer))
    return Response(to_json(whole), media_type="application/json")


@router.post("/v1/messages/count_tokens", **takes(CountTokensRequest))
async def count_tokens(request: Request, model: ModelDep) -> Response:
    """As many as the same request would be charged with, whether or not they fit."""
    body = await read_body(request, CountTokensRequest)
    check_model(model, body.model)
    prompt = await render(model, read_conversation(body), field="messages")
    tokens = await read_prompt(model, prompt, field="messages")
    return Response(to_json({"input_tokens": len(tokens)}), media_type="application/json")
