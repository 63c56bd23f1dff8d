"""`GET /v1/models`: the one model there is, in a form that OpenAI's and Anthropic's SDKs read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter

from worker.api.deps import ModelDep
from worker.api.errors import ApiError
from worker.api.service import LoadedModel

router = APIRouter()


@router.head("/v1/models", include_in_schema=False)
@router.get("/v1/models")
async def list_models(model: ModelDep) -> dict[str, Any]:
    return {
        "object": "list",
        "data": [_card(model)],
        "has_more": False,
        "first_id": model.id,
        "last_id": model.id,
    }


@router.head("/v1/models/{name:path}", include_in_schema=False)
@router.get("/v1/models/{name:path}")
async def get_model_card(name: str, model: ModelDep) -> dict[str, Any]:
    check_model(model, name)
    return _card(model)


def check_model(model: LoadedModel, name: str) -> None:
    """Raises ApiError 404 unless `name` means the model that is loaded."""
    if not model.is_called(name):
        raise ApiError(
            404,
            "MODEL_NOT_FOUND",
            f'no model "{name}" here; this worker serves "{model.id}"',
            field="model",
        )


def _card(model: LoadedModel) -> dict[str, Any]:
    created = datetime.fromtimestamp(model.loaded_at, UTC)
    return {
        "id": model.id,
        "object": "model",
        "created": model.loaded_at,
        "owned_by": "llorch",
        "type": "model",
        "display_name": model.info.name or model.id,
        "created_at": created.isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
        "max_input_tokens": model.engine.max_prompt_tokens,
        "max_tokens": model.engine.max_prompt_tokens,
    }
