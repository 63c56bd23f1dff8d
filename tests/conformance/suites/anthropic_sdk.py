"""The official `anthropic` SDK."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from pydantic import BaseModel

PARIS = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 20},
            "unit": {"enum": ["C", "F"]},
        },
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
}
# Version 2 of the SDK has no arguments for what the hosted models no longer know.
GREEDY = {"temperature": 0}
feature = pytest.mark.feature


class City(BaseModel):
    name: Literal["Paris", "Rome"]
    size: Literal[3, 4, 5]


@pytest.fixture(scope="module")
def client(server: Any) -> Anthropic:
    return Anthropic(base_url=server.root, api_key=server.key, max_retries=0)


@pytest.fixture
def ask(server: Any) -> dict[str, Any]:
    return {
        "model": server.model,
        "messages": PARIS,
        "max_tokens": 60,
        "extra_body": GREEDY,
    }


@feature("models")
def test_models_are_listed_and_found(client: Anthropic, server: Any) -> None:
    assert [model.id for model in client.models.list(limit=5)] == [server.model]
    assert client.models.retrieve(server.model).display_name


@feature("answers")
def test_an_answer_with_its_usage(client: Anthropic, ask: dict[str, Any]) -> None:
    message = client.messages.create(**ask)
    assert (message.content[0].type, message.content[0].text) == ("text", "Paris.")
    assert (message.stop_reason, message.role, message.type) == ("end_turn", "assistant", "message")
    assert message.id.startswith("msg_") and message._request_id
    used = message.usage
    assert used.input_tokens + (used.cache_read_input_tokens or 0) > 0 and used.output_tokens > 0


@feature("answers")
def test_systems_blocks_stops_and_lengths(client: Anthropic, ask: dict[str, Any]) -> None:
    blocks = [{"type": "text", "text": "What is 17 + 25?", "cache_control": {"type": "ephemeral"}}]
    messages = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello! How can I help you?"}]},
        {"role": "user", "content": blocks},
    ]
    system = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]
    message = client.messages.create(**ask | {"messages": messages}, system=system)
    assert message.content[0].text == "42"
    assert client.messages.create(**ask, system="Be brief.").content[0].text == "Paris."

    stopped = client.messages.create(**ask, stop_sequences=["ris"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "ris")
    assert stopped.content[0].text == "Pa"
    assert client.messages.create(**ask | {"max_tokens": 1}).stop_reason == "max_tokens"


@feature("answers")
def test_what_is_ignored(client: Anthropic, ask: dict[str, Any]) -> None:
    message = client.messages.create(
        **ask,
        metadata={"user_id": "somebody"},
        service_tier="auto",
        extra_headers={"anthropic-beta": "something-2030-01-01", "anthropic-version": "2030-01-01"},
    )
    assert message.content[0].text == "Paris."


@feature("streams")
def test_a_stream_says_what_the_whole_answer_says(client: Anthropic, ask: dict[str, Any]) -> None:
    ask = ask | {"messages": [{"role": "user", "content": "Write a haiku about rain"}]}
    whole = client.messages.create(**ask)
    with client.messages.stream(**ask) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == whole.content[0].text
    assert final.stop_reason == whole.stop_reason == "end_turn"
    assert final.usage.output_tokens == whole.usage.output_tokens


@feature("streams")
def test_the_order_of_events(client: Anthropic, ask: dict[str, Any]) -> None:
    names = [e.type for e in client.messages.create(**ask, stream=True) if e.type != "ping"]
    assert names[:2] == ["message_start", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(names[2:-3]) == {"content_block_delta"}


@feature("async")
def test_many_at_once(server: Any, ask: dict[str, Any]) -> None:
    async def one(client: AsyncAnthropic, number: int) -> str:
        question = [{"role": "user", "content": f"What is {number} + 1?"}]
        async with client.messages.stream(**ask | {"messages": question}) as stream:
            return await stream.get_final_text()

    async def run() -> list[str]:
        async with AsyncAnthropic(base_url=server.root, api_key=server.key) as client:
            return await asyncio.gather(*(one(client, number) for number in range(6)))

    assert asyncio.run(run()) == [str(number + 1) for number in range(6)]


@feature("tools")
@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
def test_a_call_and_its_result(client: Anthropic, ask: dict[str, Any], choice: Any) -> None:
    ask = ask | {"tools": [WEATHER], "max_tokens": 200}
    only = choice | {"disable_parallel_tool_use": True}
    first = client.messages.create(**ask, tool_choice=only)
    assert first.stop_reason == "tool_use"
    [call] = [block for block in first.content if block.type == "tool_use"]
    assert call.name == "get_weather" and set(call.input) == {"city", "unit"}

    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Sunny"}
    messages = [
        *PARIS,
        {"role": "assistant", "content": [block.model_dump() for block in first.content]},
        {"role": "user", "content": [result, {"type": "text", "text": "Hello"}]},
    ]
    second = client.messages.create(**ask | {"messages": messages}, tool_choice={"type": "none"})
    assert second.content[0].type == "text"


@feature("tools")
def test_a_streamed_call_equals_the_whole_one(client: Anthropic, ask: dict[str, Any]) -> None:
    only = {"type": "any", "disable_parallel_tool_use": True}
    ask = ask | {"tools": [WEATHER], "max_tokens": 200, "tool_choice": only}
    whole = client.messages.create(**ask)
    with client.messages.stream(**ask) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        final = stream.get_final_message()
    assert [(b.name, b.input) for b in final.content if b.type == "tool_use"] == [
        (b.name, b.input) for b in whole.content if b.type == "tool_use"
    ]
    assert final.stop_reason == "tool_use" and len(pieces) > 1


@feature("schemas")
def test_a_pydantic_model_is_parsed(client: Anthropic, ask: dict[str, Any]) -> None:
    message = client.messages.parse(**ask | {"max_tokens": 200}, output_format=City)
    assert isinstance(message.parsed_output, City)


@feature("schemas")
def test_a_pydantic_model_is_streamed(client: Anthropic, ask: dict[str, Any]) -> None:
    with client.messages.stream(**ask | {"max_tokens": 200}, output_format=City) as stream:
        assert isinstance(stream.get_final_message().parsed_output, City)


@feature("caching")
def test_a_second_turn_reads_the_first_from_the_cache(
    client: Anthropic, ask: dict[str, Any]
) -> None:
    long = "Many moons ago in Samarkand. " * 20
    messages: list[Any] = [{"role": "user", "content": long + "What is the capital of France?"}]
    first = client.messages.create(**ask | {"messages": messages})
    messages += [
        {"role": "assistant", "content": first.content[0].text},
        {"role": "user", "content": "What is 2 + 2?"},
    ]
    usage = client.messages.create(**ask | {"messages": messages}).usage
    sent = first.usage.input_tokens + (first.usage.cache_read_input_tokens or 0)
    assert usage.cache_read_input_tokens and usage.cache_read_input_tokens >= sent - 8
    assert usage.input_tokens < 40


@feature("counting")
def test_tokens_are_counted_as_they_are_used(client: Anthropic, ask: dict[str, Any]) -> None:
    what = {"model": ask["model"], "messages": PARIS, "system": "Be brief.", "tools": [WEATHER]}
    counted = client.messages.count_tokens(**what).input_tokens
    usage = client.messages.create(**what, max_tokens=4).usage
    assert counted == usage.input_tokens + (usage.cache_read_input_tokens or 0)


@feature("errors")
def test_each_refusal_is_the_right_exception(client: Anthropic, ask: dict[str, Any]) -> None:
    with pytest.raises(anthropic.NotFoundError) as unknown:
        client.messages.create(**ask | {"model": "no-such-model"})
    body: Any = unknown.value.body
    assert body["type"] == "error" and body["error"]["type"] == "not_found_error"
    assert unknown.value.request_id
    with pytest.raises(anthropic.BadRequestError, match="temperature") as hot:
        client.messages.create(**ask | {"extra_body": {"temperature": 3.0}})
    assert hot.value.body["error"]["type"] == "invalid_request_error"
    with pytest.raises(anthropic.BadRequestError, match="messages"):
        client.messages.create(**ask | {"messages": []})
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    image = [{"type": "image", "source": source}]
    with pytest.raises(anthropic.BadRequestError, match="image"):
        client.messages.create(**ask | {"messages": [{"role": "user", "content": image}]})
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > \d+ "):
        text = "river stone " * 40_000
        client.messages.create(**ask | {"messages": [{"role": "user", "content": text}]})


@feature("errors")
def test_a_wrong_key(client: Anthropic, ask: dict[str, Any]) -> None:
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key="wrong").messages.create(**ask)


@feature("retries")
def test_who_is_sent_away_comes_again(busy: Any, ask: dict[str, Any]) -> None:
    async def run(retries: int) -> list[Any]:
        url, key = busy.root, busy.key
        async with AsyncAnthropic(base_url=url, api_key=key, max_retries=retries) as client:
            asks = [client.messages.create(**ask) for _ in range(6)]
            return await asyncio.gather(*asks, return_exceptions=True)

    ask |= {"messages": [{"role": "user", "content": "Count from 3 to 90"}]}
    refused = [answer for answer in asyncio.run(run(0)) if isinstance(answer, Exception)]
    assert refused and all(isinstance(error, anthropic.RateLimitError) for error in refused)
    assert all(error.response.headers["retry-after"] for error in refused)
    assert all(answer.usage.output_tokens > 0 for answer in asyncio.run(run(30)))
