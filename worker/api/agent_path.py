"""Agents in paths: `/v1/agents/{name}` with any name there may be, percent-encoded."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Path
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from worker.api.agent import check_name
from worker.api.errors import invalid


class EncodedPathRoute(APIRoute):
    """Matches the path as it came, so that a name may hold a slash, as %2F."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        raw: bytes | None = scope.get("raw_path")
        as_it_came: dict[str, Any] = {} if raw is None else {"path": raw.decode("latin-1")}
        return super().matches({**scope, **as_it_came})


def read_name(name: Annotated[str, Path()]) -> str:
    """Raises ApiError 400."""
    try:
        return check_name(unquote_to_bytes(name).decode(), "name")
    except UnicodeDecodeError:
        raise invalid("name must be UTF-8, percent-encoded", "name") from None


AgentName = Annotated[str, Depends(read_name)]
