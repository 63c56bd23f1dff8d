"""`/v1/chat/completions` over a scripted model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.runner import FakeRunner
from tests.rigs.api_server import ApiServer, serve_api
from tests.rigs.http import call, eventually, open_stream, read_until
from worker.engine.runner import RunnerError

URL = "/v1/chat/completions"
CHAT: dict[str, Any] = {
    "model": "fake",
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
}
STREAM = CHAT | {"stream": True}


def schema_format(schema: Any, **extra: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema} | extra}


def tool(name: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters or {}}}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def user(content: Any) -> dict[str, Any]:
    return CHAT | {"messages": [{"role": "user", "content": content}]}


def said(server: ApiServer, **changes: Any) -> str:
    answer = call(server.url, URL, CHAT | changes)
    assert answer.status == 200, answer.text
    content: str = answer.json()["choices"][0]["message"]["content"]
    return content


@pytest.fixture(scope="module")
def echo() -> Iterator[ApiServer]:
    """A server whose model says its prompt again, BOS aside, and then stops."""
    with serve_api(FakeRunner(lambda prompt: prompt[1:])) as server:
        yield server


def test_whole_answer_has_openais_shape(server: ApiServer) -> None:
    answer = call(server.url, URL, CHAT).json()
    assert answer.pop("timings")["predicted_n"] == 6
    assert answer.pop("id").startswith("chatcmpl-")
    assert answer.pop("created") > 1_700_000_000
    assert answer == {
        "object": "chat.completion",
        "model": "fake",
        "system_fingerprint": "fake 1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Paris.", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 49,
            "completion_tokens": 6,
            "total_tokens": 55,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


def test_stream_begins_with_the_role_and_ends_with_the_reason(server: ApiServer) -> None:
    answer = call(server.url, URL, STREAM)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *chunks, done = answer.events
    assert done == "[DONE]"
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert all("usage" not in chunk for chunk in chunks)
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert all(choice["delta"].keys() == {"content"} for choice in choices[1:-1])
    assert "".join(choice["delta"]["content"] for choice in choices[1:-1]) == "Paris."
    assert choices[-1]["delta"] == {}
    reasons = [choice["finish_reason"] for choice in choices]
    assert reasons[-1] == "stop" and set(reasons[:-1]) == {None}
    assert chunks[-1]["timings"]["predicted_n"] == 6


def test_usage_chunk_comes_last_with_no_choices(server: ApiServer) -> None:
    ask = STREAM | {"stream_options": {"include_usage": True}}
    *chunks, done = call(server.url, URL, ask).events
    assert done == "[DONE]"
    assert {chunk["usage"] for chunk in chunks[:-1]} == {None}
    assert [chunk for chunk in chunks if "timings" in chunk] == chunks[-1:]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == call(server.url, URL, CHAT).json()["usage"]


@pytest.mark.parametrize("extra", [{}, {"stop": "s.!"}, {"stop": "is"}, {"max_tokens": 3}])
def test_stream_says_what_the_whole_answer_says(server: ApiServer, extra: dict[str, Any]) -> None:
    whole = call(server.url, URL, CHAT | extra).json()["choices"][0]
    chunks = call(server.url, URL, STREAM | extra).events[:-1]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == whole["message"]["content"]
    assert chunks[-1]["choices"][0]["finish_reason"] == whole["finish_reason"]


def test_logprobs_cover_each_token_also_in_a_stream() -> None:
    with serve_api(FakeRunner("é!".encode())) as server:
        ask = {"logprobs": True, "top_logprobs": 1}
        whole = call(server.url, URL, CHAT | ask).json()["choices"][0]["logprobs"]
        chunks = call(server.url, URL, STREAM | ask).events[:-1]
        bare = call(server.url, URL, CHAT | {"logprobs": True}).json()["choices"][0]["logprobs"]
    first = {"token": "\ufffd", "logprob": -0.5, "bytes": [0xC3]}
    assert whole["refusal"] is None
    assert whole["content"][0] == first | {"top_logprobs": [first]}
    assert bytes(b for entry in whole["content"] for b in entry["bytes"]).decode() == "é!"
    blocks = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [entry for block in blocks if block for entry in block["content"]] == whole["content"]
    assert [entry["top_logprobs"] for entry in bare["content"]] == [[], [], []]


def test_length_is_the_reason_when_max_tokens_cut_it(server: ApiServer) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        choice = call(server.url, URL, CHAT | {name: 2}).json()["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("Pa", "length")


def test_content_parts_and_developer_are_what_templates_know(echo: ApiServer) -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": None,
            "refusal": "",
            "tool_calls": [],
            "annotations": [],
        },
        {"role": "user", "content": "é 🎉"},
    ]
    expected = "System: Be brief.\n\nUser: a\nb\n\nAssistant: \n\nUser: é 🎉\n\nAssistant:"
    assert said(echo, messages=messages) == expected


def test_the_models_own_template_is_used_with_its_variables() -> None:
    template = (
        "{{ bos_token }}{{ messages[-1].content }}"
        "{% if style is defined %} [{{ style }}]{% endif %}"
        "{% if reasoning_effort is defined %} ({{ reasoning_effort }}){% endif %}"
    )
    with serve_api(FakeRunner(bytes, chat_template=template)) as server:
        messages = [{"role": "user", "content": "hi"}]
        assert said(server, messages=messages) == "<s>hi"
        extra = {"chat_template_kwargs": {"style": "x"}, "reasoning_effort": "low"}
        assert said(server, messages=messages, **extra) == "<s>hi [x] (low)"


def test_what_the_template_refuses_is_a_400_with_its_reason() -> None:
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}x"
    with serve_api(FakeRunner(b"ok", chat_template=template)) as server:
        system = {"messages": [{"role": "system", "content": "x"}]}
        error = call(server.url, URL, CHAT | system).json()["error"]
        assert (error["param"], error["message"]) == ("messages", "messages: no system")
        assert said(server) == "ok"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": 5}, "model"),
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user"}]}, "messages.0.content"),
    ({"messages": [{"role": "system", "content": None}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages.0.content",
    ),
    ({"messages": [{"content": "x"}]}, "messages.0.role"),
    (
        {"messages": [{"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}]},
        "messages.0.tool_calls.0.function",
    ),
    ({"messages": [{"role": "assistant", "audio": {"id": "x"}}]}, "messages.0.audio"),
    ({"continue_final_message": True}, "continue_final_message"),
    ({"priority": "high"}, "priority"),
    ({"reasoning_format": "none"}, "reasoning_format"),
    ({"modalities": ["audio"]}, "modalities.0"),
    ({"web_search_options": {"x": 1}}, "web_search_options"),
    ({"temperature": 3.0}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ({"max_tokens": 2049}, "max_tokens"),
    ({"max_completion_tokens": 2049}, "max_completion_tokens"),
    ({"repeat_penalty": -1.0}, "repeat_penalty"),
    ({"top_p": 2}, "top_p"),
    ({"presence_penalty": 3}, "presence_penalty"),
    ({"frequency_penalty": -3}, "frequency_penalty"),
    ({"logprobs": 1}, "logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"stop": ["a"] * 5}, "stop"),
    ({"n": 0}, "n"),
    ({"n": 17}, "n"),
    ({"n": True}, "n"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"tools": [{"type": "function"}]}, "tools.0.function"),
    ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
    ({"tools": [tool("no spaces")]}, "tools.0.function.name"),
    ({"tools": [tool("x" * 65)]}, "tools.0.function.name"),
    ({"tools": [tool("x")] * 129}, "tools"),
    ({"tools": [tool("x", nested(70))]}, "tools.0.function.parameters"),
    ({"tools": [tool("x")], "tool_choice": "perhaps"}, "tool_choice"),
    ({"tools": [tool("x")], "tool_choice": named("y")}, "tool_choice"),
    ({"tools": [tool("x")], "tool_choice": {"type": "function"}}, "tool_choice.function"),
    ({"tools": [tool("x")], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [tool("x")], "functions": [{"name": "y"}]}, "functions"),
    ({"functions": [{"name": "y"}], "function_call": {"name": "z"}}, "function_call"),
    ({"chat_template_kwargs": nested(70)}, "chat_template_kwargs"),
    ({"logit_bias": {"x": 1}}, "logit_bias"),
    ({"logit_bias": {"999": 1}}, "logit_bias"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"response_format": schema_format({"type": "wizard"})}, "response_format.json_schema.schema"),
    (
        {"response_format": schema_format({"uniqueItems": True, "type": "array"}, strict=True)},
        "response_format.json_schema.schema",
    ),
    ({"response_format": {"type": "json_object"}, "grammar": 'root ::= "x"'}, "grammar"),
    ({"response_format": {"type": "json_object"}, "ignore_eos": True}, "ignore_eos"),
    ({"grammar": "root ::= ("}, "grammar"),
    ({"session_id": 5}, "session_id"),
    ({"cache_prompt": "yes"}, "cache_prompt"),
    ({"mirostat": 3}, "mirostat"),
    ({"dry_sequence_breakers": [""]}, "dry_sequence_breakers"),
    ({"chat_template_kwargs": 5}, "chat_template_kwargs"),
]


@pytest.mark.parametrize(("change", "param"), BAD, ids=lambda value: str(value)[:50])
def test_bad_field_is_refused_by_name(
    server: ApiServer, change: dict[str, Any], param: str
) -> None:
    answer = call(server.url, URL, CHAT | change)
    error = answer.json()["error"]
    assert answer.status == 400, answer.text
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert param in error["message"]


def test_fields_that_change_nothing_are_accepted(server: ApiServer) -> None:
    harmless = {
        "user": "u",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "auto",
        "parallel_tool_calls": True,
        "tools": [],
        "tool_choice": "auto",
        "functions": None,
        "logit_bias": {},
        "grammar": None,
        "typical_p": None,
        "response_format": {"type": "text"},
        "n": 1,
        "stop": None,
        "seed": None,
        "temperature": None,
        "top_k": None,
        "max_tokens": None,
        "stream": False,
        "modalities": ["text"],
        "frobnicate": 1,
        "stream_options": None,
        "reasoning_format": "auto",
        "id_slot": -1,
        "timings_per_token": True,
    }
    assert said(server, **harmless) == "Paris."


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe\x00", b'{"a":"\\ud800"}'])
def test_bad_body_is_refused_in_openais_envelope(server: ApiServer, body: bytes) -> None:
    answer = call(server.url, URL, body, method="POST")
    assert answer.status == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_model_is_called_by_its_id_or_its_file(server: ApiServer) -> None:
    assert said(server, model="fake.gguf") == "Paris."
    answer = call(server.url, URL, CHAT | {"model": "gpt-5"})
    error = answer.json()["error"]
    assert (answer.status, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert '"gpt-5"' in error["message"] and '"fake"' in error["message"]


def test_prompt_that_does_not_fit_has_openais_code(server: ApiServer) -> None:
    answer = call(server.url, URL, user("x" * 5000))
    error = answer.json()["error"]
    assert (answer.status, error["code"]) == (400, "context_length_exceeded")
    assert error["message"].startswith("This model's maximum context length is 2047 tokens")
    assert "5019" in error["message"]


@pytest.mark.parametrize(("retriable", "status"), [(True, 503), (False, 500)])
def test_failure_of_the_model_is_an_error_whole_or_streamed(retriable: bool, status: int) -> None:
    with serve_api() as server:
        server.runner.error = RunnerError("out of luck", code="BROKEN", retriable=retriable)
        answer = call(server.url, URL, CHAT)
        assert (answer.status, answer.json()["error"]["code"]) == (status, "broken")
        server.runner.error = RunnerError("out of luck", code="BROKEN", retriable=retriable)
        last = call(server.url, URL, STREAM).events[-1]
        assert last["error"]["message"] == "out of luck"
        assert said(server) == "Paris."


@pytest.mark.parametrize("stream", [True, False])
def test_client_that_leaves_frees_its_slot(stream: bool) -> None:
    with serve_api(FakeRunner(num_slots=1)) as server:
        server.runner.step_s = 0.01  # else it may be through before anybody has noticed
        server.runner.gate.clear()
        connection = open_stream(server.url, URL, CHAT | {"stream": stream})
        if stream:
            read_until(connection, b"assistant")
        eventually(lambda: server.engine.step_seconds > 0)
        connection.close()
        server.runner.gate.set()
        eventually(lambda: server.engine.stats().cancelled_total == 1)


def test_a_seed_makes_a_request_reproducible(server: ApiServer) -> None:
    def was_reproducible(**changes: Any) -> bool:
        said(server, **changes)
        return server.runner.batches[-1].items[0].seq.request.reproducible

    assert not was_reproducible()
    assert was_reproducible(seed=1)
    assert not was_reproducible(seed=1, reproducible=False)
    assert was_reproducible(reproducible=True)
