"""Whole and streamed answers say the same, whatever is asked and whatever the model says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rigs.api_server import ApiServer
from tests.worker.api.openai_chat_driving import (
    obedient_server,
    put_together,
    say,
    streamed,
    tool,
    whole,
)

TOOLS = [tool("get_weather", city={"type": "string"}), tool("put", n={"type": "integer"})]

texts = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("<>{}\n/|ab "), max_size=20
)
arguments = st.dictionaries(texts, st.none() | st.integers() | texts, max_size=2)
calls = st.builds(
    lambda name, values: (
        f"<tool_call>\n{json.dumps({'name': name, 'arguments': values})}\n</tool_call>"
    ),
    st.sampled_from(["get_weather", "put", "unknown"]),
    arguments,
)
broken = st.sampled_from(
    ["<tool_call>", "</tool_call>", "<think>", "</think>", '<tool_call>\n{"name": "put", "argu']
)
thoughts = texts.map(lambda text: f"<think>\n{text}\n</think>\n\n")
answers = st.builds(
    lambda start, rest: start + "".join(rest),
    st.just("") | thoughts,
    st.lists(texts | calls | broken, max_size=4),
)
extras = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": st.integers(1, 60),
        "stop": st.lists(st.sampled_from(["a", "</", "\n\n", "name"]), min_size=1, max_size=2),
        "n": st.integers(2, 3),
        "tools": st.just(TOOLS),
        "parallel_tool_calls": st.booleans(),
        "logprobs": st.just(True),
        "seed": st.just(1),
    },
)


@pytest.fixture(scope="module")
def obedient() -> Iterator[ApiServer]:
    with obedient_server() as server:
        yield server


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(answer=answers, extra=extras)
def test_whole_and_streamed_answers_agree(
    obedient: ApiServer, answer: str, extra: dict[str, Any]
) -> None:
    ask = say(answer, **extra)
    expected, chunks = whole(obedient, ask), streamed(obedient, ask)
    for index, choice in enumerate(expected["choices"]):
        found, message = put_together(chunks, index), choice["message"]
        assert found["finish_reason"] == choice["finish_reason"]
        assert found["message"]["content"] == (message["content"] or "")
        assert found["message"].get("reasoning_content") == message.get("reasoning_content")
        made = [one["function"] for one in message.get("tool_calls", [])]
        assert [one["function"] for one in found["calls"]] == made
        assert found["entries"] == (choice["logprobs"] or {"content": []})["content"]
    assert _counts(chunks[-1]["usage"]) == _counts(expected["usage"])


def _counts(usage: dict[str, Any]) -> dict[str, Any]:
    """Without what came from the cache, which the first request has filled."""
    return {name: value for name, value in usage.items() if name != "prompt_tokens_details"}
