"""Whose request it is, and what the answer says of the cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.runner import FakeRunner
from tests.rigs.api_server import ApiServer, serve_api
from tests.rigs.http import call
from worker.engine.request import GenerateRequest

ASK = {"job_id": "j", "prompt": "x" * 300}
CHAT = {"model": "fake", "messages": [{"role": "user", "content": "x" * 300}]}
ROUTES = [("/execute", ASK, "agent"), ("/v1/chat/completions", CHAT, "session_id")]


@pytest.fixture
def own() -> Iterator[ApiServer]:
    with serve_api(FakeRunner(b"Paris.")) as server:
        yield server


def asked(server: ApiServer, path: str, body: Any, header: bytes | None = None) -> GenerateRequest:
    """What the engine was asked for."""
    headers = {} if header is None else {"X-Agent-Id": header.decode("latin-1")}
    answer = call(server.url, path, body, headers=headers)
    assert answer.status == 200, answer.text
    return server.runner.batches[-1].items[0].seq.request


@pytest.mark.parametrize(("path", "body", "field"), ROUTES)
def test_an_agent_is_named_by_header_or_field_and_the_header_wins(
    own: ApiServer, path: str, body: dict[str, Any], field: str
) -> None:
    assert asked(own, path, body).agent is None
    assert asked(own, path, body | {field: None}).agent is None
    assert asked(own, path, body | {field: "Zoë 7"}).agent == "Zoë 7"
    assert asked(own, path, body, "Zoë 7".encode()).agent == "Zoë 7"
    assert asked(own, path, body | {field: "a"}, b"b").agent == "b"


@pytest.mark.parametrize(("path", "body", "field"), ROUTES)
@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb", "a\x00", "\u200b", "\u2028"])
def test_an_unfit_name_is_refused_by_field(
    server: ApiServer, path: str, body: dict[str, Any], field: str, name: str
) -> None:
    answer = call(server.url, path, body | {field: name})
    error = answer.json()["error"]
    assert (answer.status, error.get("field", error.get("param"))) == (400, field)


@pytest.mark.parametrize("header", [b"", b"x" * 129, "\x85".encode(), b"\xff"])
def test_an_unfit_header_is_refused_by_its_name(server: ApiServer, header: bytes) -> None:
    answer = call(server.url, "/execute", ASK, headers={"X-Agent-Id": header.decode("latin-1")})
    assert (answer.status, answer.json()["error"]["field"]) == (400, "X-Agent-Id")


@pytest.mark.parametrize(("path", "body", "field"), ROUTES)
def test_the_cache_can_be_declined(
    own: ApiServer, path: str, body: dict[str, Any], field: str
) -> None:
    assert asked(own, path, body).use_cache
    assert asked(own, path, body | {"cache_prompt": True}).use_cache
    assert not asked(own, path, body | {"cache_prompt": False}).use_cache


def test_the_answer_says_how_much_of_the_prompt_was_cached(own: ApiServer) -> None:
    def cached(**changes: Any) -> tuple[int, int]:
        usage = call(own.url, "/v1/chat/completions", CHAT | changes).json()["usage"]
        return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]

    prompt, first = cached()
    assert (prompt > 300, first) == (True, 0)
    assert prompt - 8 <= cached()[1] < prompt
    assert cached(cache_prompt=False) == (prompt, 0)


def test_metrics_tell_where_the_prompt_came_from(own: ApiServer) -> None:
    ask = ASK | {"metrics": True, "reproducible": False}
    first, second = (call(own.url, "/execute", ask).events[-2] for _ in range(2))
    assert first["cached_tokens"] == first["restored_tokens"] == 0
    assert 0 < second["cached_tokens"] < second["prompt_tokens"]
    assert second["restored_tokens"] == 0
    assert second["accepted"] <= second["drafted"]


def test_health_tells_of_the_cache(own: ApiServer) -> None:
    for _ in range(2):
        ask = ASK | {"reproducible": False}
        call(own.url, "/execute", ask, headers={"X-Agent-Id": "a"})
    health = call(own.url, "/health").json()
    cache = health["cache"]
    assert 0 < health["cells_used"] < health["cells_total"]
    assert (cache["level"], cache["disk_problem"], cache["failures"]) == ("ok", "", {})
    assert cache["hot"] == {"count": 1, "agents": 1}
    assert cache["warm"] == cache["cold"] == {"count": 0, "bytes": 0, "limit": 0}
    assert cache["cached_tokens_total"] > 0
    assert health["kv_type"] == "f16" and health["kv_layout"] == "auto"
    assert health["memory"]["kind"] == "full" and health["memory"]["can_trim"]
    assert health["speculation"]["on"]
