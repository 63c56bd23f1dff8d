"""What a request has to pass before any route sees it: origin, key, rates."""

from __future__ import annotations

import re
from functools import partial
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.api.errors import ApiError, invalid, respond
from worker.api.keys import KeyRing
from worker.api.metrics import Metrics
from worker.api.rates import Rates
from worker.api.visit import Visit, visit
from worker.engine.events import Failed, Finished
from worker.settings import WorkerSettings

PRIORITY_HEADER = "X-Priority"
OPEN_PATHS = frozenset(
    {"/", "/api/hello", "/health", "/health/live", "/health/ready", "/health/startup"}
)
_UNMETERED = frozenset({"/cancel"})
_PRIORITY = re.compile(r"-?\d{1,3}", re.ASCII)


class Doors:
    """ASGI middleware. Health is open to everybody, all else to callers with a key, if there are
    keys; what computes (POST) is counted against the caller's rates until its answer is complete.

    A worker without keys trusts everybody who can reach it, and web pages can, through the browser
    of whoever looks at them: it answers those only whose origin it was told.
    """

    def __init__(self, app: ASGIApp, settings: WorkerSettings, metrics: Metrics) -> None:
        self._app = app
        self._keys = KeyRing(settings.token, settings.keys)
        self._rates = Rates(settings.limits)
        self._by_priority = settings.limits.queue_order == "priority"
        self._origins = settings.cors
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            caller = self._keys.check(request)
            scope.setdefault("state", {})["key"] = caller
            self._check_origin(request)
            priority = _read_priority(request)
        except ApiError as error:
            await respond(request, error)(scope, receive, send)
            return
        passed = Visit(caller, priority, self._by_priority, partial(self._on_end, caller))
        token = visit.set(passed)
        try:
            if request.method == "POST" and request.url.path not in _UNMETERED:
                await self._metered(request, caller, receive, send)
            else:
                await self._app(scope, receive, send)
        finally:
            visit.reset(token)

    async def _metered(self, request: Request, caller: str, receive: Receive, send: Send) -> None:
        async def send_with_rates(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._rates.headers(caller):
                    headers[name] = value
            await send(message)

        try:
            self._rates.enter(caller)
        except ApiError as error:
            await respond(request, error)(request.scope, receive, send_with_rates)
            return
        try:
            await self._app(request.scope, receive, send_with_rates)
        finally:
            self._rates.leave(caller)

    def _on_end(self, caller: str, event: Finished | Failed) -> None:
        self._metrics.note_end(event)
        if isinstance(event, Finished):
            timings = event.timings
            self._rates.charge(caller, timings.prompt_tokens + timings.completion_tokens)

    def _check_origin(self, request: Request) -> None:
        """Raises ApiError 403."""
        origin = request.headers.get("origin")
        if origin is None or not self._keys.is_open:
            return
        is_own = urlsplit(origin).netloc == request.headers.get("host")
        if not is_own and origin not in self._origins and "*" not in self._origins:
            raise ApiError(
                403,
                "ORIGIN_REFUSED",
                "web pages may not use this worker; start it with --cors ORIGIN to let one",
            )


def _read_priority(request: Request) -> int | None:
    """Raises ApiError 400."""
    given = request.headers.get(PRIORITY_HEADER)
    if given is None:
        return None
    if not _PRIORITY.fullmatch(given):
        raise invalid(f"{PRIORITY_HEADER} must be a whole number", PRIORITY_HEADER)
    return int(given)
