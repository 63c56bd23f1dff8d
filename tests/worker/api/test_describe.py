"""The description holds together; `tests.conformance.openapi` tries whether it is true."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.rigs.api_server import ApiServer, serve_api
from tests.rigs.http import call
from worker.api.answers import SUCCESSES


@pytest.fixture(scope="module")
def document(server: ApiServer) -> dict[str, Any]:
    answer = call(server.url, "/openapi.json")
    assert answer.status == 200
    found: dict[str, Any] = answer.json()
    return found


def test_each_route_says_what_it_answers(document: dict[str, Any]) -> None:
    described = {
        f"{method.upper()} {path}"
        for path, operations in document["paths"].items()
        for method in operations
    }
    assert described == SUCCESSES.keys()


def test_each_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = set(re.findall(r"'#/components/schemas/([^']+)'", str(document)))
    assert references and references <= document["components"]["schemas"].keys()


@pytest.mark.parametrize(
    ("path", "envelope"),
    [
        ("/v1/chat/completions", "OpenAIError"),
        ("/v1/messages", "AnthropicError"),
        ("/execute", "Error"),
        ("/v1/agents/{name}", "Error"),
    ],
)
def test_refusals_are_in_the_dialect_of_the_path(
    document: dict[str, Any], path: str, envelope: str
) -> None:
    for operation in document["paths"][path].values():
        refusal = operation["responses"]["400"]["content"]["application/json"]["schema"]
        assert refusal == {"$ref": f"#/components/schemas/{envelope}"}


def test_bodies_are_those_that_are_read(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert {"messages", "tools", "stream"} <= schemas["ChatRequest"]["properties"].keys()
    assert schemas["ExecuteRequest"]["additionalProperties"] is False
    assert "additionalProperties" not in schemas["MessagesRequest"]


def test_a_path_says_all_of_its_methods(server: ApiServer) -> None:
    answer = call(server.url, "/v1/agents/x", method="PATCH")
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, GET")


def test_the_description_needs_a_key_like_all_else() -> None:
    with serve_api(token="secret") as server:
        assert call(server.url, "/openapi.json").status == 401
