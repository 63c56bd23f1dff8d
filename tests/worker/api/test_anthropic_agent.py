"""Whose requests Anthropic's clients send."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.requests import Request

from worker.api.anthropic_agent import read_anthropic_agent
from worker.api.errors import ApiError
from worker.api.schemas.anthropic import MessagesRequest

SESSION = "5e0a5c5e-0b3f-4c6a-9d3e-1f2a3b4c5d6e"
TOOLS = [{"name": "Bash", "input_schema": {}}]
JSON_ID = json.dumps({"device_id": "d", "account_uuid": "", "session_id": SESSION})
OLD_ID = f"user_0123_account__session_{SESSION}"


def agent(
    user_id: str | None = None, *, tools: Any = TOOLS, headers: dict[str, str] | None = None
) -> str | None:
    body = {
        "model": "m",
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "hi"}],
        "metadata": {"user_id": user_id},
        "tools": tools,
    }
    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    request = Request({"type": "http", "headers": raw})
    return read_anthropic_agent(request, MessagesRequest.model_validate_json(json.dumps(body)))


@pytest.mark.parametrize(
    ("user_id", "headers"),
    [
        (None, {"X-Claude-Code-Session-Id": SESSION}),
        (JSON_ID, {}),
        (OLD_ID, {}),
        (SESSION, {}),
        ("somebody else", {"X-Claude-Code-Session-Id": SESSION}),
        (JSON_ID, {"X-Claude-Code-Session-Id": "other", "X-Agent-Id": SESSION}),
    ],
)
def test_a_session_is_the_same_agent_whichever_way_it_is_named(
    user_id: str | None, headers: dict[str, str]
) -> None:
    assert agent(user_id, headers=headers) == SESSION


def test_sub_agents_are_agents_beside_their_session() -> None:
    headers = {"X-Claude-Code-Session-Id": SESSION}
    names = {agent(JSON_ID, headers=headers | {"x-claude-code-agent-id": i}) for i in ("a", "b")}
    assert names == {f"{SESSION}/a", f"{SESSION}/b"}


@pytest.mark.parametrize("tools", [None, []])
def test_what_a_session_asks_on_the_side_is_nobodys(tools: Any) -> None:
    assert agent(JSON_ID, tools=tools) is None
    assert agent("bob", tools=tools) == "bob"


def test_without_a_name_it_is_nobodys() -> None:
    assert agent() is None
    assert agent("") is None


@pytest.mark.parametrize("user_id", ["x" * 256, "a\nb", "{" + "x" * 200, "[" * 300])
def test_what_is_no_name_is_an_agent_all_the_same(user_id: str) -> None:
    name = agent(user_id)
    assert name is not None and len(name) == 64 and name == agent(user_id)


@pytest.mark.parametrize("user_id", ['{"session_id": 5}', "{}", '{"session_id": ""}', "{x"])
def test_json_without_a_session_is_a_name_like_any_other(user_id: str) -> None:
    assert agent(user_id) == user_id


def test_a_bad_agent_header_is_refused() -> None:
    with pytest.raises(ApiError):
        agent(JSON_ID, headers={"X-Agent-Id": "x" * 200})
