"""The description of the APIs at `/openapi.json`: what the routes take, answer, and refuse.

FastAPI knows the paths and their parameters. Bodies it does not, since routes read them whatever
their Content-Type, nor answers, which are written by hand, nor our envelopes.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import Response

from worker.api.answers import (
    INTEGER,
    NULLABLE_STRING,
    OBJECT,
    STRING,
    SUCCESSES,
    Schema,
    Success,
    one,
    record,
)
from worker.api.body import Body
from worker.api.doors import OPEN_PATHS, PRIORITY_HEADER
from worker.api.json_text import to_json

_REFUSALS = {
    "400": "Something in the request is wrong; the message names the field.",
    "401": "No key, or one that is not known.",
    "403": "A web page from an origin that may not.",
    "404": "There is no such thing.",
    "408": "The body did not arrive in time.",
    "409": "Not as things are now.",
    "413": "The body is too large.",
    "429": "Too much at once; Retry-After says when to come back.",
    "500": "A fault of the worker's.",
    "503": "Loading, draining, or it may work later; Retry-After says when.",
    "507": "There is no room for it.",
}
_OPEN_REFUSALS = ("500", "503")
_ENVELOPES: dict[str, Schema] = {
    "Error": record(error=record(code=STRING, message=STRING, request_id=STRING)),
    "OpenAIError": record(
        error=record(message=STRING, type=STRING, param=NULLABLE_STRING, code=NULLABLE_STRING)
    ),
    "AnthropicError": record(
        type=one("error"), error=record(type=STRING, message=STRING), request_id=STRING
    ),
}
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
_PRIORITY = {
    "name": PRIORITY_HEADER,
    "in": "header",
    "required": False,
    "description": "With --queue-order priority, the higher goes first.",
    "schema": INTEGER | {"minimum": -999, "maximum": 999},
}


def takes(kind: type[Body]) -> dict[str, Any]:
    """Keyword arguments for a route's decorator: it takes a JSON body of this kind."""
    prefix = kind.__name__
    schema = kind.model_json_schema(ref_template=f"#/components/schemas/{prefix}.{{model}}")
    content = {"application/json": {"schema": schema}}
    return {"openapi_extra": {"requestBody": {"required": True, "content": content}}}


def describe(app: FastAPI) -> None:
    """Serve the description of what has been included in `app` so far."""
    written: bytes | None = None

    async def openapi(request: Request) -> Response:
        nonlocal written
        if written is None:
            written = to_json(make_description(app))
        return Response(written, media_type="application/json")

    app.add_route("/openapi.json", openapi, methods=["GET"], include_in_schema=False)


def make_description(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    schemas: dict[str, Schema] = dict(_ENVELOPES)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete(path, method.upper(), operation)
            _name_body(operation, schemas)
    document["components"] = {"schemas": schemas, "securitySchemes": _SECURITY}
    document["security"] = [{name: []} for name in _SECURITY] + [{}]
    return document


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    success = SUCCESSES.get(f"{method} {path.replace(':path', '')}", Success(OBJECT))
    is_open = path in OPEN_PATHS
    refusals = _OPEN_REFUSALS if is_open else tuple(_REFUSALS)
    content = {"application/json": {"schema": _envelope(path)}}
    operation["responses"] = success.responses() | {
        status: {"description": _REFUSALS[status], "content": content} for status in refusals
    }
    if is_open:
        operation["security"] = []
        if success.json is not None and path != "/health":
            operation["responses"]["503"] |= success.responses()["200"]
    elif method == "POST":
        operation.setdefault("parameters", []).append(_PRIORITY)


def _envelope(path: str) -> Schema:
    dialect = "OpenAIError" if path.startswith("/v1/") else "Error"
    if path.startswith("/v1/agents"):
        dialect = "Error"
    if path.startswith("/v1/messages"):
        dialect = "AnthropicError"
    return {"$ref": f"#/components/schemas/{dialect}"}


def _name_body(operation: dict[str, Any], schemas: dict[str, Schema]) -> None:
    """A body's own definitions are put where its references point to."""
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is None or "title" not in body["schema"]:
        return
    schema = dict(body["schema"])
    name = schema["title"]
    for part, definition in schema.pop("$defs", {}).items():
        schemas[f"{name}.{part}"] = definition
    schemas[name] = schema
    body["schema"] = {"$ref": f"#/components/schemas/{name}"}
