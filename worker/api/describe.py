"""What a route's description says of its body, which it reads for itself."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from worker.api.body import Body


def takes(kind: type[Body]) -> dict[str, Any]:
    """Keyword arguments for a route's decorator: it takes a JSON body of this kind."""
    schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    content = {"application/json": {"schema": schema}}
    return {"openapi_extra": {"requestBody": {"required": True, "content": content}}}


def describe(app: FastAPI) -> None:
    pass
