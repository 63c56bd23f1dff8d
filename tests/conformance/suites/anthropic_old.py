"""An `anthropic` SDK from before version 1: `x-api-key`, sampling arguments, beta routes."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from anthropic import Anthropic

feature = pytest.mark.feature


@pytest.fixture(scope="module")
def client(server: Any) -> Anthropic:
    return Anthropic(base_url=server.root, api_key=server.key, max_retries=0)


@pytest.fixture
def ask(server: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    return {"model": server.model, "messages": messages, "max_tokens": 60, "temperature": 0.0}


@feature("answers")
def test_sampling_arguments(client: Anthropic, ask: dict[str, Any]) -> None:
    message = client.messages.create(**ask, top_k=5, top_p=0.9)
    assert message.content[0].text == "Paris."


@feature("answers")
def test_the_beta_route(client: Anthropic, ask: dict[str, Any]) -> None:
    message = client.beta.messages.create(**ask, betas=["context-management-2025-06-27"])
    assert message.content[0].text == "Paris."


@feature("streams")
def test_a_stream(client: Anthropic, ask: dict[str, Any]) -> None:
    with client.messages.stream(**ask) as stream:
        assert stream.get_final_text() == "Paris."


@feature("counting")
def test_tokens_are_counted(client: Anthropic, ask: dict[str, Any]) -> None:
    what = {name: ask[name] for name in ("model", "messages")}
    assert client.messages.count_tokens(**what).input_tokens > 5


@feature("errors")
def test_a_wrong_key_and_a_wrong_value(client: Anthropic, ask: dict[str, Any]) -> None:
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key="wrong").messages.create(**ask)
    with pytest.raises(anthropic.BadRequestError, match="temperature"):
        client.messages.create(**ask | {"temperature": 3.0})
