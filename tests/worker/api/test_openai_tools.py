"""Calls and thoughts on `/v1/chat/completions`, in the words of Qwen3's template."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.rigs.api_server import ApiServer
from tests.rigs.http import call
from tests.worker.api.openai_chat_driving import (
    URL,
    obedient_server,
    put_together,
    say,
    streamed,
    tool,
    whole,
)

TOOLS = [tool("get_weather", city={"type": "string"}), tool("put", n={"type": "integer"})]
ROME = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'
PUT = '<tool_call>\n{"name": "put", "arguments": {"n": 5}}\n</tool_call>'


@pytest.fixture(scope="module")
def obedient() -> Iterator[ApiServer]:
    with obedient_server() as server:
        yield server


def choice(server: ApiServer, ask: dict[str, Any]) -> dict[str, Any]:
    (only,) = whole(server, ask)["choices"]
    return dict(only)


def functions(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [one["function"] for one in message["tool_calls"]]


def test_a_call_is_said_in_openais_shape(obedient: ApiServer) -> None:
    found = choice(obedient, say(ROME, tools=TOOLS))
    message = found["message"]
    (made,) = message.pop("tool_calls")
    assert found["finish_reason"] == "tool_calls"
    assert message == {"role": "assistant", "content": None, "refusal": None}
    assert made.keys() == {"id", "type", "function"} and made["id"]
    assert made["function"] == {"name": "get_weather", "arguments": '{"city": "Rome"}'}


def test_text_before_several_calls_is_kept(obedient: ApiServer) -> None:
    found = choice(obedient, say(f"Let me see.\n{ROME}\n{PUT}", tools=TOOLS))
    assert found["message"]["content"].strip() == "Let me see."
    assert [one["name"] for one in functions(found["message"])] == ["get_weather", "put"]
    assert len({one["id"] for one in found["message"]["tool_calls"]}) == 2


def test_a_streamed_call_says_each_thing_once(obedient: ApiServer) -> None:
    chunks = streamed(obedient, say(f"{ROME}\n{PUT}", tools=TOOLS))
    deltas = [one["delta"] for chunk in chunks for one in chunk["choices"]]
    assert [delta["role"] for delta in deltas if "role" in delta] == ["assistant"]
    found = put_together(chunks, 0)
    assert found["finish_reason"] == "tool_calls"
    assert [one["function"] for one in found["calls"]] == [
        {"name": "get_weather", "arguments": '{"city": "Rome"}'},
        {"name": "put", "arguments": '{"n": 5}'},
    ]
    first = next(delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta)
    assert first["index"] == 0 and first["function"]["arguments"] == ""


def test_one_call_at_a_time_when_parallel_ones_are_not_wanted(obedient: ApiServer) -> None:
    ask = say(f"{ROME}\n{PUT}\nand more", tools=TOOLS, parallel_tool_calls=False)
    found = choice(obedient, ask)
    assert [one["name"] for one in functions(found["message"])] == ["get_weather"]
    assert found["finish_reason"] == "tool_calls"
    usage = whole(obedient, ask)["usage"]
    assert usage["completion_tokens"] <= len(ROME.encode()) + 1


def test_length_is_the_reason_of_a_call_that_was_cut(obedient: ApiServer) -> None:
    found = choice(obedient, say(ROME, tools=TOOLS, max_tokens=len(ROME) - 20))
    assert found["finish_reason"] == "length"


def test_thoughts_are_apart_and_counted(obedient: ApiServer) -> None:
    answer = whole(obedient, say("<think>\nhm hm\n</think>\n\nYes."))
    message = answer["choices"][0]["message"]
    assert message["content"].strip() == "Yes."
    assert message["reasoning_content"].strip() == "hm hm"
    thought = answer["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert len("hm hm") <= thought < answer["usage"]["completion_tokens"]
    found = put_together(streamed(obedient, say("<think>\nhm hm\n</think>\n\nYes.")), 0)
    assert found["message"]["reasoning_content"] == message["reasoning_content"]
    assert found["message"]["content"] == message["content"]


def test_old_functions_are_answered_in_the_old_form(obedient: ApiServer) -> None:
    ask = say(ROME, functions=[one["function"] for one in TOOLS], function_call="auto")
    found = choice(obedient, ask)
    expected = {"name": "get_weather", "arguments": '{"city": "Rome"}'}
    assert found["message"]["function_call"] == expected
    assert "tool_calls" not in found["message"]
    assert found["finish_reason"] == "function_call"
    deltas = [one["delta"] for c in streamed(obedient, ask) for one in c["choices"]]
    calls = [delta["function_call"] for delta in deltas if "function_call" in delta]
    assert [one["name"] for one in calls if "name" in one] == ["get_weather"]
    assert "".join(one["arguments"] for one in calls) == expected["arguments"]


def prompt_of(server: ApiServer, messages: list[dict[str, Any]], **fields: Any) -> str:
    """What the model was given."""
    ask = say("ok") | fields
    ask["messages"] = messages + ask["messages"]
    whole(server, ask)
    request = server.runner.batches[-1].items[0].seq.request
    return bytes(token for token in request.prompt if token < 256).decode()


def test_calls_and_results_come_back_to_the_model(obedient: ApiServer) -> None:
    function = {"name": "get_weather", "arguments": '{"city": "Rome"}'}
    messages = [
        {"role": "user", "content": "How is it there?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "sunny"}]},
    ]
    prompt = prompt_of(obedient, messages, tools=TOOLS)
    assert '{"name": "get_weather", "arguments": {"city": "Rome"}}' in prompt
    assert "<tool_response>\nsunny\n</tool_response>" in prompt
    old = [
        {"role": "user", "content": "How is it there?"},
        {"role": "assistant", "content": None, "function_call": function},
        {"role": "function", "name": "get_weather", "content": "sunny"},
    ]
    assert prompt_of(obedient, old, tools=TOOLS) == prompt


def test_an_answer_is_begun_by_the_client(obedient: ApiServer) -> None:
    messages = say("the rest")["messages"] + [{"role": "assistant", "content": "To be, or"}]
    ask = {"model": "fake", "messages": messages, "continue_final_message": True}
    answer = whole(obedient, ask)
    request = obedient.runner.batches[-1].items[0].seq.request
    assert bytes(t for t in request.prompt if t < 256).endswith(b"To be, or")
    assert answer["choices"][0]["message"]["content"] == "the rest"


def test_logprobs_are_those_of_the_text(obedient: ApiServer) -> None:
    ask = say(f"Well.{ROME}", tools=TOOLS, logprobs=True)
    found = choice(obedient, ask)
    said = bytes(b for one in found["logprobs"]["content"] for b in one["bytes"]).decode()
    assert said.startswith("Well.") and "Rome" not in said
    assert put_together(streamed(obedient, ask), 0)["entries"] == found["logprobs"]["content"]


@pytest.mark.parametrize(
    "choice_of_tool",
    [
        "none",
        "auto",
        "required",
        {"type": "function", "function": {"name": "put"}},
        {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "required",
                "tools": [{"type": "function", "function": {"name": "put"}}],
            },
        },
    ],
    ids=str,
)
def test_every_choice_of_tools_is_understood(obedient: ApiServer, choice_of_tool: Any) -> None:
    answer = call(obedient.url, URL, say(PUT, tools=TOOLS, tool_choice=choice_of_tool))
    assert answer.status == 200, answer.text
