"""`POST /v1/embeddings`."""

from __future__ import annotations

import base64
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from pydantic import Field
from starlette.responses import Response

from worker.api.body import LenientBody, read_body
from worker.api.compute import embed
from worker.api.deps import ModelDep
from worker.api.describe import takes
from worker.api.errors import ApiError, invalid
from worker.api.json_text import to_json
from worker.api.prompts import read_prompts
from worker.api.routes.models import check_model
from worker.api.schemas.prompts import Prompts
from worker.api.service import LoadedModel
from worker.api.sse import while_connected

router = APIRouter()

MAX_INPUTS = 2048


class EmbeddingRequest(LenientBody):
    """`dimensions` cuts the vectors, which then have length 1 again."""

    model: str = Field(min_length=1)
    input: Prompts
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, ge=1)


@router.post("/v1/embeddings", **takes(EmbeddingRequest))
async def embeddings(request: Request, model: ModelDep) -> Response:
    body = await read_body(request, EmbeddingRequest)
    check_model(model, body.model)
    whole = await while_connected(request.receive, _embed(model, body))
    return Response(to_json(whole), media_type="application/json")


async def _embed(model: LoadedModel, body: EmbeddingRequest) -> dict[str, Any]:
    """Raises ApiError. One text after the other, so that others get their turn between them."""
    _check(model, body)
    limit = model.engine.max_sequence_tokens
    prompts = await read_prompts(model, body.input, field="input", limit=limit)
    data = []
    for index, prompt in enumerate(prompts):
        vector = _cut(await embed(model, prompt.tokens), body.dimensions)
        written = _encode(vector, body.encoding_format)
        data.append({"object": "embedding", "index": index, "embedding": written})
    num_tokens = sum(len(prompt.tokens) for prompt in prompts)
    return {
        "object": "list",
        "data": data,
        "model": model.id,
        "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens},
    }


def _check(model: LoadedModel, body: EmbeddingRequest) -> None:
    size = model.info.embedding_size
    if model.info.pooling == "rank":
        message = "this model ranks texts and has no vectors for them"
        raise ApiError(400, "NOT_SUPPORTED", message, field="model")
    if len(body.input) > MAX_INPUTS:
        raise invalid(f"input holds at most {MAX_INPUTS} texts", "input")
    if body.dimensions is not None and body.dimensions > size:
        raise invalid(f"dimensions is at most {size} with this model", "dimensions")


def _cut(vector: NDArray[np.float32], dimensions: int | None) -> NDArray[np.float32]:
    if dimensions is None or dimensions == len(vector):
        return vector
    cut = vector[:dimensions]
    length = np.linalg.norm(cut)
    return cut / length if length > 0 else cut


def _encode(vector: NDArray[np.float32], encoding: str | None) -> str | list[float]:
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    numbers: list[float] = vector.tolist()
    return numbers
