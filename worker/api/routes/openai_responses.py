"""`POST /v1/responses`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from worker.api.agent import read_agent
from worker.api.body import read_body
from worker.api.deps import ModelDep
from worker.api.describe import takes
from worker.api.json_text import to_json
from worker.api.responses_answer import ResponsesAnswer
from worker.api.responses_turn import turn_of
from worker.api.routes.models import check_model
from worker.api.schemas.openai_responses import ResponsesRequest
from worker.api.sse import PING_EVERY_S, EventStream, while_connected
from worker.api.turn import start_turn

router = APIRouter()


@router.post("/v1/responses", **takes(ResponsesRequest))
async def responses(request: Request, model: ModelDep) -> Response:
    body = await read_body(request, ResponsesRequest)
    check_model(model, body.model)
    agent = read_agent(request, body.session_id, "session_id")
    turn = turn_of(body, context=model.engine.max_sequence_tokens, agent=agent)
    answer = await start_turn(model, turn)
    writer = ResponsesAnswer(model.id, body, turn.params)
    if body.stream:
        return EventStream(writer.stream(answer), ping_every_s=PING_EVERY_S)
    whole = await while_connected(request.receive, writer.whole(answer))
    return Response(to_json(whole), media_type="application/json")
