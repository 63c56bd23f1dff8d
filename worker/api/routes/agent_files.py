"""`/v1/agents/{name}/cache`: an agent's cache as a file, to take away and to bring back."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from worker.api.agent_path import AgentName, EncodedPathRoute
from worker.api.agent_records import agent_refusals, to_record
from worker.api.deps import ModelDep, ServiceDep
from worker.api.errors import ApiError
from worker.api.json_text import to_json
from worker.api.service import LoadedModel, Service
from worker.api.transfers import Download, spooled, too_large
from worker.engine.cache.file_format import BadFile
from worker.engine.cache.fingerprint import Fingerprint
from worker.engine.cache.snapshot import Snapshot
from worker.engine.cache.transfer import Bounds, export_head, import_file
from worker.engine.errors import NothingKept

router = APIRouter(prefix="/v1/agents", route_class=EncodedPathRoute)

_MAX_HEAD = 1 << 16  # bytes, beside the tokens
_FILE = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


@router.get("/{name}/cache", responses={200: {"content": _FILE}}, response_class=Response)
async def export_cache(name: AgentName, service: ServiceDep, model: ModelDep) -> Response:
    """The file that a worker with the same model, build and settings takes."""
    fingerprint = await _fingerprint(model)
    service.transfers.begin()
    try:
        with agent_refusals():
            snapshot = await model.engine.agents.take(name)
        head = await asyncio.to_thread(export_head, snapshot, fingerprint)
        return Download([head, snapshot.state], "agent.kv", service.transfers)
    except BaseException:
        service.transfers.end()
        raise


@router.put("/{name}/cache", openapi_extra={"requestBody": {"required": True, "content": _FILE}})
async def import_cache(
    request: Request, name: AgentName, service: ServiceDep, model: ModelDep
) -> Response:
    """Let the agent, made if need be, have the cache in the file and no other."""
    agents = model.engine.agents
    with agent_refusals(), service.transfers.one(), agents.claimed(name):
        await agents.check_idle(name)
        is_new = not await agents.knows(name)
        snapshot = await _receive(request, service, model)
        try:
            await agents.put(name, snapshot)
        except NothingKept as error:
            raise ApiError(507, "INSUFFICIENT_STORAGE", str(error)) from None
        view = await agents.view(name)
    status = 201 if is_new else 200
    return Response(to_json(to_record(view)), status, media_type="application/json")


async def _receive(request: Request, service: Service, model: LoadedModel) -> Snapshot:
    """Raises ApiError, with the `reason` by name when the file is no good."""
    max_tokens = model.engine.max_sequence_tokens
    bounds = Bounds(max_tokens, model.vocab.size, model.engine.agents.max_snapshot_bytes)
    max_bytes = bounds.max_bytes + 4 * max_tokens + _MAX_HEAD
    if int(request.headers.get("content-length", 0)) > max_bytes:
        raise too_large(max_bytes)
    fingerprint = await _fingerprint(model)
    async with spooled(request, max_bytes, _spool_folder(service, model)) as (file, size):
        try:
            return await asyncio.to_thread(import_file, file, size, fingerprint, bounds)
        except BadFile as error:
            message = f"the file is not usable ({error.reason}): {error}"
            raise ApiError(400, "BAD_CACHE_FILE", message, reason=error.reason) from None


def _spool_folder(service: Service, model: LoadedModel) -> Path | None:
    """Where there is room for agents; else where the system has its temporary files."""
    return None if model.disk_problem else service.settings.agents


async def _fingerprint(model: LoadedModel) -> Fingerprint:
    """Raises ApiError 503 when the model's file cannot be read any more."""
    try:
        return await asyncio.to_thread(model.fingerprint)
    except OSError as error:
        message = f"the model's file cannot be read: {error.strerror or error}"
        raise ApiError(503, "MODEL_UNREADABLE", message, retry_after_s=10) from None
