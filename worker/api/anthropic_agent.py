"""Whose request it is, by what Anthropic's clients say of themselves."""

from __future__ import annotations

import json
import re
from hashlib import sha256

from starlette.requests import Request

from worker.api.agent import HEADER, MAX_CHARACTERS, read_agent
from worker.api.schemas.anthropic import MessagesRequest

_SESSION = "x-claude-code-session-id"
_SUB_AGENT = "x-claude-code-agent-id"
_SESSION_IN_ID = re.compile(r"_session_([\w-]+)\Z", re.ASCII)


def read_anthropic_agent(request: Request, body: MessagesRequest) -> str | None:
    """The agent whose conversation this is, None when it is nobody's. The first that applies:

    1. `X-Agent-Id`.
    2. Claude Code's session: `X-Claude-Code-Session-Id`, else the session that is named in
       `metadata.user_id` (JSON with `session_id`, or the older `…_session_<id>`). Only the main
       conversation is the session's own agent. A sub-agent (`x-claude-code-agent-id`) is
       `<session>/<id>`, since it runs beside the main conversation and what one agent asks runs one
       after the other. A request of a session without tools is nobody's: titles, summaries and the
       like are asked on the side, and would take the conversation's place in the cache.
    3. Any other `metadata.user_id`; by its digest where it is too long for a name.

    What is nobody's begins from the cache all the same. Raises ApiError 400 for a bad `X-Agent-Id`.
    """
    if request.headers.get(HEADER) is not None:
        return read_agent(request, None, HEADER)
    session = request.headers.get(_SESSION) or _session_in(body.user_id)
    if session:
        sub_agent = request.headers.get(_SUB_AGENT)
        if sub_agent:
            return _name(f"{session}/{sub_agent}")
        return _name(session) if body.tools else None
    return _name(body.user_id) if body.user_id else None


def _session_in(user_id: str | None) -> str | None:
    if not user_id:
        return None
    if user_id.startswith("{"):
        try:
            session = json.loads(user_id).get("session_id")
        except (ValueError, RecursionError):
            return None
        return session if isinstance(session, str) else None
    found = _SESSION_IN_ID.search(user_id)
    return found[1] if found else None


def _name(text: str) -> str:
    if len(text) <= MAX_CHARACTERS and text.isprintable():
        return text
    return sha256(text.encode()).hexdigest()
