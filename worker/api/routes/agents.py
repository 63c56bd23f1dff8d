"""`/v1/agents`: agents by name. What they are asked, the engine computes as for any dialect."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from worker.api.agent import check_name
from worker.api.agent_path import AgentName, EncodedPathRoute
from worker.api.agent_prompt import read_continuation, read_conversation
from worker.api.agent_records import agent_refusals, to_record
from worker.api.body import read_body
from worker.api.deps import ModelDep, ServiceDep
from worker.api.describe import takes
from worker.api.generate import cut_off, failure, new_id, read_prompt, submit
from worker.api.json_text import to_json
from worker.api.native_answer import native_stream, native_whole
from worker.api.sampling import ready_params
from worker.api.schemas.agents import AgentGenerateRequest, CreateAgentRequest, ForkRequest
from worker.api.service import LoadedModel
from worker.api.sse import PING_EVERY_S, EventStream, while_connected
from worker.engine.errors import AgentExists, UnknownAgent
from worker.engine.events import Failed, Finished, FinishReason
from worker.engine.params import SamplingParams
from worker.engine.request import GenerateRequest
from worker.engine.stream import Generation

router = APIRouter(prefix="/v1/agents", route_class=EncodedPathRoute)

PAGE = 100
MAX_PAGE = 1000


@router.post("", status_code=201, **takes(CreateAgentRequest))
async def create_agent(request: Request, model: ModelDep) -> Response:
    """Make an agent, and compute what all its turns will begin with, if that is said."""
    body = await read_body(request, CreateAgentRequest)
    name = _new_name(body.name)
    prompt = await _read_beginning(model, body)
    with agent_refusals():
        await model.engine.agents.create(name)
    if prompt is not None:
        await _prefill(request, model, name, prompt, body)
    return await _respond(model, name, status=201)


@router.get("")
async def list_agents(
    model: ModelDep,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = PAGE,
    after: Annotated[str, Query(max_length=128)] = "",
) -> dict[str, Any]:
    """By name, from the one behind `after` on."""
    with agent_refusals():
        views, has_more = await model.engine.agents.page(after, limit)
    return {
        "agents": [to_record(view) for view in views],
        "has_more": has_more,
        "last_name": views[-1].name if views else None,
    }


@router.get("/{name}")
async def show_agent(name: AgentName, model: ModelDep) -> Response:
    return await _respond(model, name)


@router.delete("/{name}")
async def delete_agent(
    name: AgentName, model: ModelDep, cancel: Annotated[bool, Query()] = False
) -> dict[str, Any]:
    """Gone from the context, from RAM and from the disk. A busy one only with `cancel`."""
    with agent_refusals():
        await model.engine.agents.delete(name, cancel=cancel)
    return {"name": name, "deleted": True}


@router.post("/{name}/fork", status_code=201, **takes(ForkRequest))
async def fork_agent(request: Request, name: AgentName, model: ModelDep) -> Response:
    """Another agent with the same text and cache; nothing is computed."""
    body = await read_body(request, ForkRequest)
    new = _new_name(body.name)
    with agent_refusals():
        if new == name:
            raise AgentExists(name)
        await model.engine.agents.fork(name, new)
    return await _respond(model, new, status=201)


@router.post("/{name}/spill")
async def spill_agent(name: AgentName, model: ModelDep) -> Response:
    """Make room in the context: the next turn brings the agent back from RAM or disk."""
    with agent_refusals():
        await model.engine.agents.spill(name)
    return await _respond(model, name)


@router.post("/{name}/generate", **takes(AgentGenerateRequest))
async def generate(
    request: Request, name: AgentName, service: ServiceDep, model: ModelDep
) -> Response:
    """A turn of the agent, in the events of `/execute`."""
    body = await read_body(request, AgentGenerateRequest)
    with agent_refusals():
        if not await model.engine.agents.knows(name):
            raise UnknownAgent(name)
    params = await ready_params(model, body.sampling(), body.form())
    generation = await _start(model, name, body, params)
    job_id = body.job_id or name
    if body.stream:
        chunks = native_stream(generation, service.jobs, job_id, with_metrics=body.metrics)
        return EventStream(chunks, ping_every_s=PING_EVERY_S)
    whole = native_whole(generation, service.jobs, job_id, with_metrics=body.metrics)
    return _json(await while_connected(request.receive, whole))


async def _start(
    model: LoadedModel, name: str, body: AgentGenerateRequest, params: SamplingParams
) -> Generation:
    """Raises ApiError."""
    conversation = body.conversation()
    if conversation is not None:
        prompt = await read_conversation(model, conversation)
        return _submit(model, name, prompt, params, body)
    with agent_refusals(), model.engine.agents.claimed(name):
        # Nobody else goes on from the same text meanwhile.
        text = await model.engine.agents.text(name)
        prompt = await read_continuation(model, text, body.prompt)
        return _submit(model, name, prompt, params, body)


def _submit(
    model: LoadedModel,
    name: str,
    prompt: tuple[int, ...],
    params: SamplingParams,
    body: AgentGenerateRequest,
) -> Generation:
    is_chat = body.messages is not None
    one = GenerateRequest(
        new_id(), prompt, params, body.is_reproducible, name, with_specials=is_chat
    )
    return submit(model, one, field="messages" if is_chat else "prompt")


async def _read_beginning(model: LoadedModel, body: CreateAgentRequest) -> tuple[int, ...] | None:
    conversation = body.conversation()
    if conversation is not None:
        return await read_conversation(model, conversation)
    return None if body.prompt is None else await read_prompt(model, body.prompt, field="prompt")


async def _prefill(
    request: Request,
    model: LoadedModel,
    name: str,
    prompt: tuple[int, ...],
    body: CreateAgentRequest,
) -> None:
    """Have the prompt computed. Raises ApiError, and then there is no such agent."""
    one = GenerateRequest(
        new_id(), prompt, SamplingParams(), body.reproducible, name, prefill_only=True
    )
    try:
        generation = submit(model, one, field="prompt" if body.messages is None else "messages")
        await while_connected(request.receive, _until_end(generation))
    except BaseException:
        await model.engine.agents.delete(name, cancel=True)
        raise


async def _until_end(generation: Generation) -> None:
    async with aclosing(generation):
        async for event in generation:
            if isinstance(event, Failed):
                raise failure(event)
            if isinstance(event, Finished) and event.reason is FinishReason.CANCELLED:
                raise cut_off(event)


def _new_name(name: str | None) -> str:
    return f"agent-{uuid4().hex[:12]}" if name is None else check_name(name, "name")


async def _respond(model: LoadedModel, name: str, *, status: int = 200) -> Response:
    with agent_refusals():
        view = await model.engine.agents.view(name)
    return _json(to_record(view), status)


def _json(value: Any, status: int = 200) -> Response:
    return Response(to_json(value), status_code=status, media_type="application/json")
