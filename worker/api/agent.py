"""Whose request it is: one rule for every dialect."""

from __future__ import annotations

from starlette.requests import Request

from worker.api.errors import invalid

HEADER = "X-Agent-Id"
MAX_CHARACTERS = 128


def read_agent(request: Request, named: str | None, field: str) -> str | None:
    """The agent that the header names, else the body in `field`; None when nobody is named.

    The same name is the same agent, whichever way it came. Raises ApiError 400.
    """
    header = request.headers.get(HEADER)
    if header is None:
        return None if named is None else check_name(named, field)
    try:
        return check_name(header.encode("latin-1").decode(), HEADER)
    except UnicodeDecodeError:
        raise invalid(f"{HEADER} must be UTF-8", HEADER) from None


def check_name(name: str, field: str) -> str:
    """The name, if it is fit for an agent. Raises ApiError 400."""
    if not (1 <= len(name) <= MAX_CHARACTERS and name.isprintable()):
        raise invalid(f"{field} must be 1 to {MAX_CHARACTERS} printable characters", field)
    return name
