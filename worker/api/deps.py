"""What handlers ask for by type."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from pool_core.spawn.report import WorkerStatus
from worker.api.errors import ApiError
from worker.api.service import LoadedModel, Service

_RETRY_WHILE_LOADING_S = 2.0
_RETRY_AFTER_DRAIN_S = 10.0


# Not coroutines for waiting: FastAPI calls plain functions in a thread of its pool.
async def get_service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(get_service)]


async def get_loaded_model(service: ServiceDep) -> LoadedModel:
    """Raises ApiError 503 while there is none."""
    if service.model is None:
        raise ApiError(
            503,
            "MODEL_LOADING",
            f"the model is loading, {service.progress:.0%} so far",
            retry_after_s=_RETRY_WHILE_LOADING_S,
        )
    return service.model


LoadedModelDep = Annotated[LoadedModel, Depends(get_loaded_model)]


async def get_model(service: ServiceDep, model: LoadedModelDep) -> LoadedModel:
    """Raises ApiError 503 also when the model takes no new requests any more."""
    if service.status is WorkerStatus.DRAINING:
        raise ApiError(
            503,
            "DRAINING",
            "this worker is shutting down",
            retry_after_s=_RETRY_AFTER_DRAIN_S,
        )
    return model


ModelDep = Annotated[LoadedModel, Depends(get_model)]
