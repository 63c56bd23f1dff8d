"""Refusals: one exception for all routes, and one envelope for each dialect."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

from worker.api.json_text import to_json
from worker.engine.params import InvalidParam
from worker.log import request_id

log = logging.getLogger(__name__)

CLIENT_CLOSED = 499  # nginx's number for a client that left; only logs ever see it
_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "server_error",
}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class ApiError(Exception):
    """A request that gets no answer. `field` is the dotted path of what is wrong, if one thing is.

    `code` is our own; `openai_code` is the word OpenAI's clients look for. `details` are further
    JSON values for programs.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        field: str | None = None,
        openai_code: str | None = None,
        retry_after_s: float | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.openai_code = openai_code
        self.retry_after_s = retry_after_s
        self.details = details

    def headers(self) -> dict[str, str]:
        headers = {}
        if self.retry_after_s is not None:
            # Whole seconds by the standard; OpenAI's client gives up on more than 120.
            headers["retry-after"] = str(min(120, max(1, round(self.retry_after_s))))
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["www-authenticate"] = "Bearer"
        return headers


def invalid(message: str, field: str | None = None) -> ApiError:
    """A 400 that names the field."""
    return ApiError(400, "INVALID_REQUEST", message, field=field)


def native_envelope(error: ApiError) -> dict[str, Any]:
    """How `/execute`, `/cancel` and everything without a dialect says no."""
    body: dict[str, Any] = {"code": error.code}
    if error.field is not None:
        body["field"] = error.field
    body["message"] = error.message
    return {"error": body | error.details | {"request_id": request_id.get()}}


def openai_envelope(error: ApiError) -> dict[str, Any]:
    """How OpenAI's API says no; its clients read nothing else. A prompt that is too long is said in
    the words by which LiteLLM and others know it."""
    message = error.message
    if error.code == "PROMPT_TOO_LONG":
        limit = error.details["limit"]
        message = f"This model's maximum context length is {limit} tokens here; {message}"
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    return {
        "error": {
            "message": message,
            "type": _OPENAI_TYPES.get(error.status, kind),
            "param": error.field,
            "code": error.openai_code or error.code.lower(),
        }
    }


def anthropic_envelope(error: ApiError) -> dict[str, Any]:
    """How Anthropic's API says no. A prompt that is too long is said in the words from which
    Claude Code learns that it has to make it shorter."""
    message = error.message
    if error.code == "PROMPT_TOO_LONG":
        tokens, limit = error.details["prompt_tokens"], error.details["limit"]
        message = f"prompt is too long: {tokens} tokens > {limit} maximum"
    kind = "api_error" if error.status >= 500 else "invalid_request_error"
    details = {"error_code": error.code.lower()}
    if error.field is not None:
        details["field"] = error.field
    body = {"type": _ANTHROPIC_TYPES.get(error.status, kind), "message": message}
    return {
        "type": "error",
        "error": body | {"details": details},
        "request_id": request_id.get(),
    }


def install_error_handlers(app: FastAPI) -> None:
    """Every error body of the app is ours, FastAPI's three defaults included."""
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(InvalidParam, _on_invalid_param)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_bug)


def respond(request: Request, error: ApiError, headers: Mapping[str, str] = {}) -> Response:
    """The error in the dialect of the request's path."""
    return Response(
        to_json(_envelope_of(request.url.path)(error)),
        status_code=error.status,
        headers={**headers, **error.headers()},
        media_type="application/json",
    )


def _envelope_of(path: str) -> Callable[[ApiError], dict[str, Any]]:
    path = f"{path}/"
    if path.startswith("/v1/messages/"):
        return anthropic_envelope
    is_native = not path.startswith("/v1/") or path.startswith("/v1/agents/")
    return native_envelope if is_native else openai_envelope


def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return respond(request, error)


def _on_invalid_param(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidParam)
    return respond(request, invalid(f"{error.field} {error.reason}", error.field))


def _on_validation_error(request: Request, error: Exception) -> Response:
    """A path or query parameter; bodies are validated by `worker.api.body`."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:])
    return respond(request, invalid(f"{field}: {first['msg']}", field))


def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    what = {
        404: f"no route {request.method} {request.url.path}",
        405: f"{request.url.path} does not take {request.method}",
    }.get(status, str(error.detail))
    headers = dict(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["allow"] = ", ".join(_methods_of(request))
    return respond(request, ApiError(status, status.name, what), headers)


def _methods_of(request: Request) -> list[str]:
    """Of all routes with the request's path; the one that refused knows but its own."""
    found: set[str] = set()
    for route in request.app.state.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods
    return sorted(found)


def _on_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED)


def _on_bug(request: Request, error: Exception) -> Response:
    # Starlette raises it again for the server to log, with its trace.
    return respond(request, ApiError(500, "INTERNAL", "internal error; see the worker's log"))
