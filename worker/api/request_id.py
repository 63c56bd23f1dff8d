"""Every request has an id, the caller's or ours, in its answer and in each of its log lines."""

from __future__ import annotations

import logging
import re
import time
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.api.metrics import Metrics
from worker.log import request_id

HEADER = "x-request-id"
_ALSO = "request-id"  # where Anthropic's clients look
_ACCEPTABLE = re.compile(r"[\w.:@/+=-]{1,128}", re.ASCII)

log = logging.getLogger("worker.access")


class RequestId:
    """ASGI middleware; also writes the access log, one line when the answer is complete, and
    counts it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        current = _read_id(Request(scope))
        request_id.set(current)
        started = time.monotonic()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = headers[_ALSO] = current
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            _log_access(scope, status, time.monotonic() - started)
            self._metrics.note_request(*_route_of(scope), status)


def _read_id(request: Request) -> str:
    """The caller's id if it is fit for a header and a log line."""
    given = request.headers.get(HEADER, "")
    return given if _ACCEPTABLE.fullmatch(given) else f"req-{uuid4().hex}"


def _route_of(scope: Scope) -> tuple[str, str]:
    """Method and path as they are declared: what strangers make up must not become labels."""
    route = scope.get("route")
    return ("", "") if route is None else (scope["method"], route.path)


def _log_access(scope: Scope, status: int, seconds: float) -> None:
    # Health is polled every few seconds for the life of a worker.
    level = logging.DEBUG if scope["path"].startswith("/health") else logging.INFO
    data = {
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "ms": round(1000 * seconds, 1),
    }
    if key := scope.get("state", {}).get("key"):
        data["key"] = key
    log.log(level, "%s %s %d", scope["method"], scope["path"], status, extra={"data": data})
