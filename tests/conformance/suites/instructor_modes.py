"""instructor: pydantic models by each of its ways to ask for them."""

from __future__ import annotations

from typing import Any, Literal

import anthropic
import instructor
import openai
import pytest
from pydantic import BaseModel

feature = pytest.mark.feature
MESSAGES = [{"role": "user", "content": "Give JSON for a city named Paris with population 7"}]


class City(BaseModel):
    """A city."""

    name: Literal["Paris", "Rome"]
    size: Literal[3, 4, 5]


@feature("tools")
def test_openai_tools(server: Any) -> None:
    assert isinstance(_ask_openai(server, instructor.Mode.TOOLS), City)


@feature("schemas")
def test_openai_json_schema(server: Any) -> None:
    assert isinstance(_ask_openai(server, instructor.Mode.JSON_SCHEMA), City)


@feature("tools")
def test_anthropic_tools(server: Any) -> None:
    client = instructor.from_anthropic(
        anthropic.Anthropic(base_url=server.root, api_key=server.key),
        mode=instructor.Mode.ANTHROPIC_TOOLS,
    )
    found = client.messages.create(
        model=server.model, messages=MESSAGES, max_tokens=200, response_model=City, max_retries=0
    )
    assert isinstance(found, City)


def _ask_openai(server: Any, mode: instructor.Mode) -> Any:
    client = instructor.from_openai(
        openai.OpenAI(base_url=server.v1, api_key=server.key), mode=mode
    )
    return client.chat.completions.create(
        model=server.model,
        messages=MESSAGES,
        max_tokens=200,
        temperature=0,
        response_model=City,
        max_retries=0,
    )
