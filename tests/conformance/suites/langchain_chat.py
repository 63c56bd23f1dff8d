"""LangChain, through both of its packages."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any, Literal

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

feature = pytest.mark.feature


class City(BaseModel):
    """A city."""

    name: Literal["Paris", "Rome"]
    size: Literal[3, 4, 5]


@tool
def get_weather(unit: Literal["C", "F"]) -> str:
    """The weather here."""
    return f"20 {unit}"


def openai(server: Any, **more: Any) -> BaseChatModel:
    options = {"temperature": 0, "max_tokens": 200, "max_retries": 0} | more
    return ChatOpenAI(base_url=server.v1, api_key=server.key, model=server.model, **options)


def anthropic(server: Any, **more: Any) -> BaseChatModel:
    options = {"max_tokens": 200, "max_retries": 0} | more
    return ChatAnthropic(
        base_url=server.root,
        api_key=server.key,
        model=server.model,
        **options,
        model_kwargs={"extra_body": {"temperature": 0}},
    )


def one_call(chat: BaseChatModel) -> Any:
    """A model this small does not know when it has called enough."""
    return chat.bind_tools([get_weather], tool_choice="any", parallel_tool_calls=False)


@pytest.fixture(params=[openai, anthropic])
def chat(request: pytest.FixtureRequest, server: Any) -> BaseChatModel:
    return request.param(server)


@feature("answers")
def test_an_answer_with_its_usage(chat: BaseChatModel) -> None:
    answer = chat.invoke([SystemMessage("Be brief."), HumanMessage("What is 17 + 25?")])
    assert answer.text == "42"
    used = answer.usage_metadata
    assert used and used["input_tokens"] > 10 and used["output_tokens"] > 0


@feature("streams")
def test_a_stream(chat: BaseChatModel) -> None:
    chunks = list(chat.stream("Write a haiku about rain"))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.text == chat.invoke("Write a haiku about rain").text and len(chunks) > 5


@feature("async")
def test_a_batch(chat: BaseChatModel) -> None:
    answers = asyncio.run(chat.abatch([f"What is {number} + 1?" for number in range(4)]))
    assert [answer.text for answer in answers] == ["1", "2", "3", "4"]


@feature("tools")
def test_a_call_and_its_result(chat: BaseChatModel) -> None:
    turns: list[Any] = [HumanMessage("Hello")]
    turns.append(one_call(chat).invoke(turns))
    [call] = turns[-1].tool_calls
    assert call["name"] == "get_weather" and call["args"]["unit"] in ("C", "F")
    turns.append(ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]))
    turns.append(HumanMessage("What is the capital of France?"))
    assert chat.bind_tools([get_weather]).invoke(turns).type == "ai"


@feature("tools")
def test_a_streamed_call(chat: BaseChatModel) -> None:
    whole: Any = None
    for chunk in one_call(chat).stream("Hello"):
        whole = chunk if whole is None else whole + chunk
    assert [call["name"] for call in whole.tool_calls] == ["get_weather"]


@feature("schemas")
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_structured_output_of_openai(server: Any, method: str) -> None:
    structured = openai(server).with_structured_output(City, method=method, include_raw=True)
    found = structured.invoke("Give JSON for a city named Paris with population 7")
    if method == "json_mode":  # any JSON may come, and ours has other fields
        assert found["raw"].text == '{"city": "Paris", "population": 7}'
    else:
        assert isinstance(found["parsed"], City)


@feature("schemas")
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output_of_anthropic(server: Any, method: str) -> None:
    structured = anthropic(server).with_structured_output(City, method=method)
    assert isinstance(structured.invoke("Hello"), City)


@feature("responses")
def test_the_responses_api(server: Any) -> None:
    chat = openai(server, use_responses_api=True)
    assert chat.invoke("What is the capital of France?").text == "Paris."
    assert "".join(chunk.text for chunk in chat.stream("What is 2 + 2?")) == "4"


@feature("embeddings")
def test_embeddings(server: Any) -> None:
    embeddings = OpenAIEmbeddings(
        base_url=server.v1,
        api_key=server.key,
        model=server.model,
        check_embedding_ctx_length=False,  # else it wants OpenAI's own tokenizer
    )
    one, two = embeddings.embed_documents(["river stone", "river stone"])
    assert one == pytest.approx(two, abs=1e-3) and len(one) > 16


@feature("errors")
@pytest.mark.parametrize("make", [openai, anthropic])
def test_a_wrong_model(server: Any, make: Any) -> None:
    other = dataclasses.replace(server, model="no-such-model")
    with pytest.raises(Exception, match="no-such-model"):
        make(other).invoke("Hello")
