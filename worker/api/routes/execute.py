"""`POST /execute`: a raw prompt, answered as a stream without clock values; and `POST /cancel`."""

from __future__ import annotations

from fastapi import APIRouter, Request

from worker.api.agent import read_agent
from worker.api.body import read_body
from worker.api.deps import LoadedModelDep, ModelDep, ServiceDep
from worker.api.describe import takes
from worker.api.generate import start_generation
from worker.api.native_answer import native_stream
from worker.api.sampling import ready_params
from worker.api.schemas.execute import CancelRequest, ExecuteRequest
from worker.api.sse import EventStream

router = APIRouter()


@router.post("/execute", **takes(ExecuteRequest))
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
    chunks = native_stream(generation, service.jobs, body.job_id, with_metrics=body.metrics)
    return EventStream(chunks)


@router.post("/cancel", **takes(CancelRequest))
async def cancel(request: Request, service: ServiceDep, model: LoadedModelDep) -> dict[str, int]:
    body = await read_body(request, CancelRequest)
    ids = service.jobs.request_ids(body.job_id)
    return {"cancelled": sum(model.engine.cancel(name) for name in ids)}
