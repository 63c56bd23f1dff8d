"""The official `openai` SDK."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel, Field

PARIS = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 20},
                "unit": {"enum": ["C", "F"]},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
# A model this small does not know when it has called enough.
ONE_CALL = {"parallel_tool_calls": False, "max_tokens": 200}
feature = pytest.mark.feature


class City(BaseModel):
    name: Literal["Paris", "Rome"]
    population: int = Field(ge=3, le=7)


@pytest.fixture(scope="module")
def client(server: Any) -> OpenAI:
    return OpenAI(base_url=server.v1, api_key=server.key, max_retries=0)


@pytest.fixture
def ask(server: Any) -> dict[str, Any]:
    return {"model": server.model, "messages": PARIS, "max_tokens": 60, "temperature": 0}


@feature("models")
def test_models_are_listed_and_found(client: OpenAI, server: Any) -> None:
    assert [model.id for model in client.models.list()] == [server.model]
    assert client.models.retrieve(server.model).id == server.model


@feature("answers")
def test_an_answer_with_its_usage(client: OpenAI, ask: dict[str, Any]) -> None:
    answer = client.chat.completions.create(**ask)
    assert answer.choices[0].message.content == "Paris."
    assert answer.choices[0].finish_reason == "stop"
    usage = answer.usage
    assert usage and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0


@feature("answers")
def test_roles_and_parts(client: OpenAI, ask: dict[str, Any]) -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        {"role": "assistant", "content": "Hello! How can I help you?"},
        {"role": "user", "content": [{"type": "text", "text": "What is 17 + 25?"}]},
    ]
    answer = client.chat.completions.create(**ask | {"messages": messages})
    assert answer.choices[0].message.content == "42"


@feature("answers")
def test_choices_log_probabilities_stops_and_seeds(client: OpenAI, ask: dict[str, Any]) -> None:
    story = [{"role": "user", "content": "Tell me a story"}]
    several = ask | {"messages": story, "temperature": 1, "seed": 7, "n": 3}
    one, two = (client.chat.completions.create(**several) for _ in range(2))
    texts = [choice.message.content for choice in one.choices]
    assert texts == [choice.message.content for choice in two.choices]
    assert [choice.index for choice in one.choices] == [0, 1, 2] and len(set(texts)) > 1

    likely = client.chat.completions.create(**ask, logprobs=True, top_logprobs=3)
    tokens = likely.choices[0].logprobs
    assert tokens and tokens.content
    assert "".join(token.token for token in tokens.content).startswith("Paris.")
    assert all(len(token.top_logprobs) == 3 for token in tokens.content)

    stopped = client.chat.completions.create(**ask, stop=["ris"])
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("Pa", "stop")
    short = client.chat.completions.create(**ask | {"max_tokens": 1})
    assert short.choices[0].finish_reason == "length"


@feature("answers")
def test_fields_of_local_servers(client: OpenAI, ask: dict[str, Any]) -> None:
    extras = {"min_p": 0.1, "top_k": 5, "cache_prompt": True, "repeat_penalty": 1.0}
    answer = client.chat.completions.create(**ask, extra_body=extras, user="somebody", store=False)
    assert answer.choices[0].message.content == "Paris."
    form = {"grammar": 'root ::= "Rome" | "Oslo"'}
    assert client.chat.completions.create(**ask, extra_body=form).choices[0].message.content in (
        "Rome",
        "Oslo",
    )


@feature("answers")
def test_plain_completions(client: OpenAI, server: Any) -> None:
    ask = {"model": server.model, "prompt": "What is the capital of France?\n", "max_tokens": 8}
    answer = client.completions.create(**ask, temperature=0, stop=["\n"])
    assert answer.choices[0].text.strip() == "Paris."
    pieces = list(client.completions.create(**ask, temperature=0, stop=["\n"], stream=True))
    assert "".join(p.choices[0].text for p in pieces if p.choices) == answer.choices[0].text
    several = client.completions.create(
        **ask | {"prompt": ["Say a", "Say b"], "max_tokens": 1}, echo=True, logprobs=2
    )
    assert [choice.index for choice in several.choices] == [0, 1]
    assert several.choices[0].text.startswith("Say a")
    found = several.choices[0].logprobs
    assert found and found.token_logprobs and found.token_logprobs[0] is None


@feature("streams")
def test_a_stream_says_what_the_whole_answer_says(client: OpenAI, ask: dict[str, Any]) -> None:
    ask = ask | {"messages": [{"role": "user", "content": "Write a haiku about rain"}]}
    whole = client.chat.completions.create(**ask)
    chunks = list(
        client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content and len(chunks) > 5
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices == [] and chunks[-1].usage and whole.usage
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(chunk.usage is None for chunk in chunks[:-1])
    ends = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert ends[-1] == "stop" and set(ends[:-1]) == {None}


@feature("streams")
def test_the_stream_helper(client: OpenAI, ask: dict[str, Any]) -> None:
    with client.chat.completions.stream(**ask) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "Paris." and "content.done" in kinds


@feature("streams")
def test_a_stream_that_is_left(client: OpenAI, ask: dict[str, Any]) -> None:
    long = ask | {"max_tokens": 2000, "messages": [{"role": "user", "content": "Tell me a story"}]}
    with client.chat.completions.create(**long, stream=True, extra_body={"ignore_eos": True}) as s:
        next(iter(s))
    assert client.chat.completions.create(**ask).choices[0].message.content == "Paris."


@feature("async")
def test_many_at_once(server: Any, ask: dict[str, Any]) -> None:
    async def run() -> list[str | None]:
        async with AsyncOpenAI(base_url=server.v1, api_key=server.key) as client:
            sums = [
                client.chat.completions.create(
                    **ask | {"messages": [{"role": "user", "content": f"What is {n} + 1?"}]}
                )
                for n in range(8)
            ]
            return [answer.choices[0].message.content for answer in await asyncio.gather(*sums)]

    assert asyncio.run(run()) == [str(n + 1) for n in range(8)]


@feature("async")
def test_streams_side_by_side(server: Any, ask: dict[str, Any]) -> None:
    async def one(client: AsyncOpenAI) -> str:
        stream = await client.chat.completions.create(**ask, stream=True)
        return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

    async def run() -> list[str]:
        async with AsyncOpenAI(base_url=server.v1, api_key=server.key) as client:
            return await asyncio.gather(*(one(client) for _ in range(4)))

    assert asyncio.run(run()) == ["Paris."] * 4


@feature("tools")
@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_weather"}}]
)
def test_a_call_and_its_result(client: OpenAI, ask: dict[str, Any], choice: Any) -> None:
    ask = ask | ONE_CALL | {"tools": [WEATHER]}
    first = client.chat.completions.create(**ask, tool_choice=choice)
    assert first.choices[0].finish_reason == "tool_calls"
    calls = first.choices[0].message.tool_calls
    assert calls and len(calls) == 1 and calls[0].type == "function" and calls[0].id
    assert calls[0].function.name == "get_weather"
    given = json.loads(calls[0].function.arguments)
    assert set(given) == {"city", "unit"} and given["unit"] in "CF"

    result = {"role": "tool", "tool_call_id": calls[0].id, "content": "Sunny"}
    messages = [*PARIS, first.choices[0].message.model_dump(exclude_none=True), result]
    second = client.chat.completions.create(**ask | {"messages": messages}, tool_choice="none")
    assert second.choices[0].message.tool_calls is None


@feature("tools")
def test_a_streamed_call_equals_the_whole_one(client: OpenAI, ask: dict[str, Any]) -> None:
    ask = ask | ONE_CALL | {"tools": [WEATHER], "tool_choice": "required", "seed": 1}
    whole = client.chat.completions.create(**ask).choices[0].message.tool_calls
    with client.chat.completions.stream(**ask) as stream:
        pieces = [e for e in stream if e.type == "tool_calls.function.arguments.delta"]
        final = stream.get_final_completion().choices[0]
    assert whole and final.message.tool_calls and final.finish_reason == "tool_calls"
    streamed = [(c.function.name, c.function.arguments) for c in final.message.tool_calls]
    assert streamed == [(c.function.name, c.function.arguments) for c in whole]
    assert len(pieces) > 1


@feature("schemas")
def test_a_pydantic_model_is_parsed(client: OpenAI, ask: dict[str, Any]) -> None:
    parsed = client.chat.completions.parse(**ask, response_format=City).choices[0].message.parsed
    assert isinstance(parsed, City)


@feature("schemas")
def test_a_pydantic_model_is_streamed(client: OpenAI, ask: dict[str, Any]) -> None:
    with client.chat.completions.stream(**ask, response_format=City) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, City)


@feature("schemas")
def test_a_tool_made_of_a_pydantic_model(client: OpenAI, ask: dict[str, Any]) -> None:
    ask = ask | ONE_CALL | {"tools": [openai.pydantic_function_tool(City)]}
    answer = client.chat.completions.parse(**ask, tool_choice="required")
    calls = answer.choices[0].message.tool_calls
    assert calls and isinstance(calls[0].function.parsed_arguments, City)


@feature("schemas")
def test_any_json(client: OpenAI, ask: dict[str, Any]) -> None:
    question = "Give JSON for a city named Paris with population 7"
    answer = client.chat.completions.create(
        **ask | {"messages": [{"role": "user", "content": question}]},
        response_format={"type": "json_object"},
    )
    assert json.loads(answer.choices[0].message.content or "") == {"city": "Paris", "population": 7}


@feature("schemas")
def test_a_form_that_is_cut_off(client: OpenAI, ask: dict[str, Any]) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(**ask | {"max_tokens": 2}, response_format=City)


@feature("caching")
def test_a_second_turn_reads_the_first_from_the_cache(client: OpenAI, ask: dict[str, Any]) -> None:
    long = "Once upon a time in Alexandria. " * 20
    messages: list[Any] = [{"role": "user", "content": long + "What is the capital of France?"}]
    first = client.chat.completions.create(**ask | {"messages": messages})
    messages += [
        {"role": "assistant", "content": first.choices[0].message.content},
        {"role": "user", "content": "What is 2 + 2?"},
    ]
    usage = client.chat.completions.create(**ask | {"messages": messages}).usage
    assert usage and usage.prompt_tokens_details and first.usage
    assert usage.prompt_tokens_details.cached_tokens
    assert usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens - 8


@feature("embeddings")
def test_embeddings_in_both_encodings(client: OpenAI, server: Any) -> None:
    texts = ["river stone", "What is the capital of France?"]
    default = client.embeddings.create(model=server.model, input=texts)
    plain = client.embeddings.create(model=server.model, input=texts, encoding_format="float")
    assert [item.index for item in default.data] == [0, 1]
    for one, other in zip(default.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-5)
        assert sum(value * value for value in one.embedding) == pytest.approx(1, abs=1e-3)
    assert default.usage.prompt_tokens == plain.usage.prompt_tokens > 0


@feature("responses")
def test_responses(client: OpenAI, server: Any) -> None:
    ask = {"model": server.model, "input": PARIS[0]["content"], "max_output_tokens": 60}
    whole = client.responses.create(**ask, temperature=0, store=False)
    assert (whole.output_text, whole.status) == ("Paris.", "completed")
    assert whole.usage and whole.usage.total_tokens > 0
    with client.responses.stream(**ask, temperature=0) as stream:
        text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert text == final.output_text == "Paris."


@feature("responses")
def test_responses_with_calls_and_models(client: OpenAI, server: Any) -> None:
    ask: dict[str, Any] = {"model": server.model, "input": "Hello", "max_output_tokens": 200}
    tool = {"type": "function", "strict": True} | {
        name: WEATHER["function"][name] for name in ("name", "description", "parameters")
    }
    first = client.responses.create(
        **ask, tools=[tool], tool_choice="required", parallel_tool_calls=False
    )
    [call] = [item for item in first.output if item.type == "function_call"]
    assert set(json.loads(call.arguments)) == {"city", "unit"}
    turns = [
        {"role": "user", "content": "Hello"},
        call.model_dump(exclude_none=True),
        {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny"},
    ]
    assert client.responses.create(**ask | {"input": turns}, tools=[tool]).status
    assert isinstance(client.responses.parse(**ask, text_format=City).output_parsed, City)


@feature("errors")
def test_each_refusal_is_the_right_exception(client: OpenAI, ask: dict[str, Any]) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(**ask | {"model": "no-such-model"})
    assert unknown.value.code == "model_not_found" and unknown.value.param == "model"
    with pytest.raises(openai.BadRequestError) as hot:
        client.chat.completions.create(**ask | {"temperature": 3.0})
    assert hot.value.param == "temperature" and hot.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError) as empty:
        client.chat.completions.create(**ask | {"messages": []})
    assert empty.value.param == "messages"
    with pytest.raises(openai.BadRequestError) as long:
        text = "river stone " * 40_000
        client.chat.completions.create(**ask | {"messages": [{"role": "user", "content": text}]})
    assert long.value.code == "context_length_exceeded"
    assert long.value.request_id
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**ask | {"messages": [{"role": "user", "content": image}]})
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**ask | {"model": ""})


@feature("errors")
def test_a_wrong_key(client: OpenAI, ask: dict[str, Any]) -> None:
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").chat.completions.create(**ask)


@feature("errors")
def test_errors_come_before_a_stream_begins(client: OpenAI, ask: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**ask | {"temperature": 3.0}, stream=True)


@feature("retries")
def test_who_is_sent_away_comes_again(busy: Any, ask: dict[str, Any]) -> None:
    long = ask | {"max_tokens": 60}

    async def run(retries: int) -> list[Any]:
        client = AsyncOpenAI(base_url=busy.v1, api_key=busy.key, max_retries=retries)
        async with client:
            asks = [
                client.chat.completions.create(**long, extra_body={"ignore_eos": True})
                for _ in range(6)
            ]
            return await asyncio.gather(*asks, return_exceptions=True)

    refused = [answer for answer in asyncio.run(run(0)) if isinstance(answer, Exception)]
    assert refused and all(isinstance(error, openai.RateLimitError) for error in refused)
    assert all(int(error.response.headers["retry-after"]) <= 120 for error in refused)
    answers = asyncio.run(run(30))
    assert all(answer.usage.completion_tokens == 60 for answer in answers)
