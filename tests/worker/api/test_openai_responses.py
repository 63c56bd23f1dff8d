"""`/v1/responses` over a scripted model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.runner import FakeRunner, broken
from tests.rigs.api_server import ApiServer, serve_api
from tests.rigs.http import Answer, call, open_stream, read_rest, read_until
from worker.chat.format import ChatFormat
from worker.chat.messages import ChatMessage, Conversation, Tool, ToolCall, ToolChoice, ToolMode
from worker.chat.parts import (
    AnswerPart,
    CallArguments,
    CallEnd,
    CallStart,
    ReasoningPart,
    TextPart,
)
from worker.chat.prompt import Prompt
from worker.engine.constraint import ConstraintSpec

URL = "/v1/responses"
ASK: dict[str, Any] = {"model": "fake", "input": "What is the capital of France?"}
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
CALLING = '<I must look.>Well.@weather({"at":"Paris"})@time()'


class MarkedChat:
    """Recognises <thoughts> and @name(arguments) in answers; `asked` is the last conversation."""

    def __init__(self) -> None:
        self.asked = Conversation(())

    def render(self, conversation: Conversation, now: datetime) -> Prompt:
        self.asked = conversation
        return Prompt("the prompt")

    def parser(self, conversation: Conversation, prompt: Prompt) -> MarkedParser:
        return MarkedParser()

    def form(self, conversation: Conversation, prompt: Prompt) -> ConstraintSpec | None:
        return None


class MarkedParser:
    def __init__(self) -> None:
        self._mode = ""
        self._name = ""
        self._num_calls = 0

    def feed(self, text: str) -> list[AnswerPart]:
        return [part for character in text for part in self._read(character)]

    def finish(self) -> list[AnswerPart]:
        return []

    def _read(self, character: str) -> list[AnswerPart]:
        index = self._num_calls - 1
        match self._mode, character:
            case "", "<" | "@":
                self._mode, self._name = character, ""
            case "<", ">":
                self._mode = ""
            case "@", "(":
                self._mode, self._num_calls = "(", index + 2
                return [CallStart(index + 1, f"call_{index + 1}", self._name)]
            case "@", _:
                self._name += character
            case "(", ")":
                self._mode = ""
                return [CallEnd(index)]
            case "(", _:
                return [CallArguments(index, character)]
            case "<", _:
                return [ReasoningPart(character)]
            case _:
                return [TextPart(character)]
        return []


@contextmanager
def marked(answer: str) -> Iterator[tuple[ApiServer, MarkedChat]]:
    """A server whose model says `answer` to everything."""
    chat = MarkedChat()
    with serve_api(FakeRunner(answer.encode())) as server:
        assert server.service.model is not None
        server.service.model = replace(server.service.model, chat=cast(ChatFormat, chat))
        yield server, chat


@pytest.fixture(scope="module")
def calling() -> Iterator[tuple[ApiServer, MarkedChat]]:
    with marked(CALLING) as served:
        yield served


def asked(served: tuple[ApiServer, MarkedChat], **changes: Any) -> Conversation:
    server, chat = served
    answer = call(server.url, URL, ASK | changes)
    assert answer.status == 200, answer.text
    return chat.asked


def events_of(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200, answer.text
    assert answer.text.endswith("\n\n")
    events = []
    for block in answer.text[:-2].split("\n\n"):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def stream(server: ApiServer, **changes: Any) -> list[dict[str, Any]]:
    return events_of(call(server.url, URL, ASK | {"stream": True} | changes))


def without_ids(response: dict[str, Any]) -> dict[str, Any]:
    """What two answers to one request must have in common."""
    kept = {name: response[name] for name in ("status", "incomplete_details", "error", "tools")}
    usage = response["usage"] and response["usage"] | {"input_tokens_details": None}
    items = [{name: item[name] for name in item if name != "id"} for item in response["output"]]
    return kept | {"usage": usage, "output": items}


def test_whole_answer_has_every_required_field(server: ApiServer) -> None:
    answer = call(server.url, URL, ASK | {"metadata": {"a": "b"}, "user": "me"}).json()
    assert answer["id"].startswith("resp_") and answer["object"] == "response"
    assert (answer["status"], answer["error"], answer["store"]) == ("completed", None, False)
    assert (answer["metadata"], answer["user"]) == ({"a": "b"}, "me")
    assert (answer["tools"], answer["tool_choice"]) == ([], "auto")
    [message] = answer["output"]
    part = {"type": "output_text", "text": "Paris.", "annotations": [], "logprobs": []}
    assert message.pop("id").startswith("msg_")
    assert message == {
        "type": "message",
        "role": "assistant",
        "content": [part],
        "status": "completed",
    }
    usage = answer["usage"]
    details = usage["input_tokens_details"]
    assert details["cached_tokens"] + details["cache_write_tokens"] == usage["input_tokens"]
    assert usage["output_tokens"] == 6
    assert usage["total_tokens"] == usage["input_tokens"] + 6


def test_stream_tells_of_every_item_from_beginning_to_end(
    calling: tuple[ApiServer, MarkedChat],
) -> None:
    events = stream(calling[0])
    kinds = [event["type"].removeprefix("response.") for event in events]
    told = [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]
    written = ["output_item.added", "content_part.added"]
    ended = ["content_part.done", "output_item.done"]
    arguments = "function_call_arguments"
    assert told == [
        *("created", "in_progress"),
        *(*written, "reasoning_text.delta", "reasoning_text.done", *ended),
        *(*written, "output_text.delta", "output_text.done", *ended),
        *("output_item.added", f"{arguments}.delta", f"{arguments}.done", "output_item.done"),
        *("output_item.added", f"{arguments}.done", "output_item.done"),
        "completed",
    ]
    output = events[-1]["response"]["output"]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    added = [event["item"] for event in events if event["type"] == "response.output_item.added"]
    assert done == output
    assert [item["id"] for item in added] == [item["id"] for item in output]
    assert {item["status"] for item in added} == {"in_progress"}
    for event in events:
        if "item_id" in event:
            assert event["item_id"] == output[event["output_index"]]["id"]


def test_thoughts_text_and_calls_are_items_of_their_own(
    calling: tuple[ApiServer, MarkedChat],
) -> None:
    answer = call(calling[0].url, URL, ASK).json()
    thoughts, message, weather, clock = answer["output"]
    assert thoughts["summary"] == [] and "encrypted_content" not in thoughts
    assert thoughts["content"] == [{"type": "reasoning_text", "text": "I must look."}]
    assert message["content"][0]["text"] == "Well."
    assert (weather["call_id"], weather["name"]) == ("call_0", "weather")
    assert json.loads(weather["arguments"]) == {"at": "Paris"}
    assert (clock["name"], clock["arguments"], clock["status"]) == ("time", "", "completed")
    assert answer["usage"]["output_tokens_details"]["reasoning_tokens"] == len("I must look.>")


def test_what_an_answer_was_can_come_back_as_input(calling: tuple[ApiServer, MarkedChat]) -> None:
    server = calling[0]
    include = {"include": ["reasoning.encrypted_content"]}
    output = call(server.url, URL, ASK | include).json()["output"]
    thoughts = output[0] | {"content": None}  # as Codex sends it
    results = [
        {"type": "function_call_output", "call_id": "call_0", "output": "sunny"},
        {
            "type": "function_call_output",
            "call_id": "call_1",
            "output": [{"type": "input_text", "text": "noon"}],
        },
    ]
    conversation = asked(
        calling,
        instructions="Be brief.",
        input=[{"role": "developer", "content": "Hi"}, thoughts, *output[1:], *results],
    )
    calls = (ToolCall("call_0", "weather", '{"at":"Paris"}'), ToolCall("call_1", "time", "{}"))
    assert conversation.messages == (
        ChatMessage("system", "Be brief."),
        ChatMessage("system", "Hi"),
        ChatMessage("assistant", "Well.", "I must look.", calls),
        ChatMessage("tool", "sunny", tool_call_id="call_0", name="weather"),
        ChatMessage("tool", "noon", tool_call_id="call_1", name="time"),
    )


def test_separate_answers_stay_separate_turns(calling: tuple[ApiServer, MarkedChat]) -> None:
    def thought(text: str) -> dict[str, Any]:
        return {"type": "reasoning", "summary": [{"type": "summary_text", "text": text}]}

    items = [{"role": "assistant", "content": "a"}, thought("t"), thought("u")]
    last = {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
    hosted = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    assert asked(calling, input=[*items, hosted, last]).messages == (
        ChatMessage("assistant", "a"),
        ChatMessage("assistant", "no", "t\nu"),
    )


def test_hosted_tools_are_skipped(calling: tuple[ApiServer, MarkedChat]) -> None:
    tools = [{"type": "web_search"}, WEATHER, {"type": "namespace", "name": "x", "tools": []}]
    conversation = asked(calling, tools=tools, parallel_tool_calls=False)
    assert conversation.tools == (Tool("weather", "", {"type": "object"}),)
    assert conversation.tool_choice == ToolChoice(parallel=False)
    [echoed] = call(calling[0].url, URL, ASK | {"tools": tools}).json()["tools"]
    assert echoed == WEATHER | {"description": None, "strict": None}


@pytest.mark.parametrize(
    ("wanted", "choice"),
    [
        ("none", ToolChoice(ToolMode.NONE)),
        ("required", ToolChoice(ToolMode.REQUIRED)),
        (
            {"type": "function", "name": "weather"},
            ToolChoice(ToolMode.REQUIRED, ("weather",), parallel=False),
        ),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [WEATHER, {"type": "mcp"}]},
            ToolChoice(ToolMode.AUTO, ("weather",)),
        ),
    ],
)
def test_tool_choice_is_understood(
    calling: tuple[ApiServer, MarkedChat], wanted: Any, choice: ToolChoice
) -> None:
    assert asked(calling, tools=[WEATHER], tool_choice=wanted).tool_choice == choice


def test_effort_reaches_the_template(calling: tuple[ApiServer, MarkedChat]) -> None:
    def variables(**changes: Any) -> Any:
        return asked(calling, **changes).variables

    assert variables() == {}
    high = {"enable_thinking": True, "reasoning_effort": "high"}
    assert variables(reasoning={"effort": "high", "summary": "auto"}) == high
    assert variables(reasoning={"effort": "none"}) == {"enable_thinking": False}
    own = {"reasoning": {"effort": "none"}, "chat_template_kwargs": {"enable_thinking": True}}
    assert variables(**own) == {"enable_thinking": True}


def test_an_answer_that_was_cut_is_incomplete(calling: tuple[ApiServer, MarkedChat]) -> None:
    answer = call(calling[0].url, URL, ASK | {"max_output_tokens": 32}).json()
    assert (answer["status"], answer["completed_at"]) == ("incomplete", None)
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert answer["max_output_tokens"] == 32
    assert [item["status"] for item in answer["output"]] == ["completed"] * 2 + ["incomplete"]
    last = stream(calling[0], max_output_tokens=32)[-1]
    assert last["type"] == "response.incomplete"
    assert without_ids(last["response"]) == without_ids(answer)


def test_an_answer_with_nothing_in_it_is_an_empty_message() -> None:
    with serve_api(FakeRunner(b"")) as server:
        [message] = call(server.url, URL, ASK).json()["output"]
        events = stream(server)
    assert message["content"][0]["text"] == ""
    assert [event["type"] for event in events][2] == "response.output_item.added"


def test_a_failure_in_mid_stream_is_told_twice() -> None:
    runner = FakeRunner()
    with serve_api(runner) as server:
        connection = open_stream(server.url, URL, ASK | {"stream": True})
        with connection:
            seen = read_until(connection, b"output_text.delta")
            runner.error = broken()
            seen += read_rest(connection)
    text = seen.decode()
    failed = next(line for line in text.splitlines() if '"response.failed"' in line)
    response = json.loads(failed.removeprefix("data: "))["response"]
    assert response["status"] == "failed" and response["usage"] is None
    assert response["error"] == {"code": "server_error", "message": "the device is gone"}
    assert response["output"][0]["status"] == "incomplete"
    assert '"error":{"message":"the device is gone"' in text


def test_logprobs_come_with_the_text_they_are_of(calling: tuple[ApiServer, MarkedChat]) -> None:
    ask = {"include": ["message.output_text.logprobs"], "top_logprobs": 1}
    message = call(calling[0].url, URL, ASK | ask).json()["output"][1]
    entries = message["content"][0]["logprobs"]
    said = b"".join(bytes(entry["bytes"]) for entry in entries)
    assert said.decode().lstrip(">") == "Well."
    assert [len(entry["top_logprobs"]) for entry in entries] == [1] * len(entries)
    deltas = [one for one in stream(calling[0], **ask) if one["type"].endswith("text.delta")]
    assert [entry for one in deltas for entry in one.get("logprobs", [])] == entries


def test_a_form_reaches_the_engine(server: ApiServer) -> None:
    def is_bound(format: dict[str, Any]) -> bool:
        answer = call(server.url, URL, ASK | {"text": {"format": format}})
        assert answer.json()["text"]["format"] == format
        return server.runner.batches[-1].items[0].seq.request.params.constraint is not None

    schema = {"type": "object", "properties": {"x": {"const": 1}}, "required": ["x"]}
    assert is_bound({"type": "json_schema", "name": "n", "schema": schema, "strict": True})
    assert is_bound({"type": "json_object"})
    assert not is_bound({"type": "text"})


IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,"}


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"input": []}, "input"),
        ({"input": 3}, "input"),
        ({"input": ["x"]}, "input.0"),
        ({"input": [{"type": "dance"}]}, "input.0"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0"),
        ({"input": [{"role": "king", "content": "x"}]}, "input.0.role"),
        ({"input": [{"role": "user"}]}, "input.0.content"),
        ({"input": [{"role": "user", "content": 1}]}, "input.0.content"),
        ({"input": [{"role": "user", "content": [IMAGE]}]}, "input.0.content.0"),
        ({"input": [{"role": "user", "content": [{"type": "x"}]}]}, "input.0.content.0"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            "input.0.content.0.text",
        ),
        (
            {"input": [{"type": "function_call_output", "call_id": "no", "output": "x"}]},
            "input.0.call_id",
        ),
        ({"tools": [{"type": "function"}]}, "tools.0.name"),
        ({"tools": [WEATHER, WEATHER]}, "tools.1.name"),
        ({"tools": [WEATHER] * 129}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "allowed_tools", "tools": []}}, "tool_choice.tools"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        (
            {"text": {"format": {"type": "json_schema", "schema": {"type": 3}}}},
            "text.format.schema",
        ),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"background": True}, "background"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 3.0}, "temperature"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"model": "other"}, "model"),
    ],
)
def test_what_is_wrong_is_named(server: ApiServer, changes: dict[str, Any], param: str) -> None:
    answer = call(server.url, URL, ASK | changes | {"stream": True})
    assert answer.status == (404 if param == "model" else 400), answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert param in error["message"] or param == "model"


def test_an_agent_is_named_by_session_only(server: ApiServer) -> None:
    def agent(**changes: Any) -> str | None:
        assert call(server.url, URL, ASK | changes).status == 200
        return server.runner.batches[-1].items[0].seq.request.agent

    assert agent(user="u", prompt_cache_key="k", safety_identifier="s") is None
    assert agent(session_id="a") == "a"


TEXTS = st.text("ab é\n", max_size=8)
ANSWERS = st.lists(TEXTS | TEXTS.map("<{}>".format) | TEXTS.map("@f({})".format), max_size=5).map(
    "".join
)
EXTRAS = st.fixed_dictionaries(
    {},
    optional={
        "max_output_tokens": st.integers(1, 40),
        "stop": st.sampled_from(["b", "é\n", ["a", " "]]),
        "parallel_tool_calls": st.booleans(),
        "tools": st.just([WEATHER]),
        "top_logprobs": st.integers(0, 3),
    },
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(answer=ANSWERS, extras=EXTRAS)
def test_a_stream_says_what_the_whole_answer_says(
    scripted: tuple[ApiServer, list[str]], answer: str, extras: dict[str, Any]
) -> None:
    server, script = scripted
    script[:] = [answer]
    events = stream(server, **extras)
    last = events[-1]["response"]
    assert without_ids(call(server.url, URL, ASK | extras).json()) == without_ids(last)
    said: dict[int, str] = {}
    for event in events:
        if event["type"].endswith(".delta"):
            at = event["output_index"]
            said[at] = said.get(at, "") + event["delta"]
    for at, item in enumerate(last["output"]):
        whole = item.get("arguments") if "arguments" in item else item["content"][0]["text"]
        assert said.get(at, "") == whole


@pytest.fixture(scope="module")
def scripted() -> Iterator[tuple[ApiServer, list[str]]]:
    """A server whose model says what the list holds."""
    script = [""]
    with serve_api(FakeRunner(lambda prompt: script[0].encode())) as server:
        assert server.service.model is not None
        chat = cast(ChatFormat, MarkedChat())
        server.service.model = replace(server.service.model, chat=chat)
        yield server, script
