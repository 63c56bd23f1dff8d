"""`/v1/messages` and its `count_tokens` over a scripted model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.runner import FakeRunner
from tests.rigs.api_server import ApiServer, serve_api
from tests.rigs.http import Answer, call, open_stream, read_until
from worker.api.anthropic_blocks import MessageReader
from worker.api.routes import anthropic
from worker.engine.blocks import CELLS_PER_BLOCK
from worker.engine.runner import RunnerError

URL = "/v1/messages"
QWEN = (Path(__file__).parents[1] / "chat" / "templates" / "qwen3.jinja").read_text()
TOOL = {"name": "Bash", "input_schema": {"type": "object"}}
THINK = {"type": "adaptive"}
ASK: dict[str, Any] = {
    "model": "fake",
    "max_tokens": 200,
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
}
Record = dict[str, Any]


def last_question(prompt: tuple[int, ...]) -> bytes:
    """What the user said last, in the words of Qwen's template."""
    text = bytes(token for token in prompt if token < 256)
    return text.rpartition(b"<|im_start|>user\n")[2].partition(b"<|im_end|>")[0]


@pytest.fixture(scope="module")
def echo() -> Iterator[ApiServer]:
    """A Qwen that answers with what it was asked."""
    runner = FakeRunner(last_question, chat_template=QWEN, num_cells=16 * CELLS_PER_BLOCK)
    with serve_api(runner) as server:
        yield server


def user(text: str) -> Record:
    return {"messages": [{"role": "user", "content": text}]}


def message(server: ApiServer, **changes: Any) -> Record:
    answer = call(server.url, URL, ASK | changes)
    assert answer.status == 200, answer.text
    found: Record = answer.json()
    return found


def stream(server: ApiServer, **changes: Any) -> list[Record]:
    return events_of(call(server.url, f"{URL}?beta=true", ASK | {"stream": True} | changes))


def events_of(answer: Answer) -> list[Record]:
    assert answer.status == 200, answer.text
    assert answer.text.endswith("\n\n")
    events = []
    for block in answer.text[:-2].split("\n\n"):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


def gather(events: list[Record]) -> Record:
    reader = MessageReader()
    for event in events:
        reader.read(event)
    return reader.message


def error(server: ApiServer, status: int, **changes: Any) -> Record:
    answer = call(server.url, URL, ASK | changes)
    assert answer.status == status, answer.text
    body = answer.json()
    assert set(body) == {"type", "error", "request_id"} and body["type"] == "error"
    assert answer.headers["request-id"] == body["request_id"]
    found: Record = body["error"]
    return found


def test_a_message_has_anthropics_shape(server: ApiServer) -> None:
    answer = call(server.url, URL, ASK)
    found = answer.json()
    assert answer.headers["request-id"] == answer.headers["x-request-id"]
    assert found.pop("id").startswith("msg_")
    assert found == {
        "type": "message",
        "role": "assistant",
        "model": "fake",
        "content": [{"type": "text", "text": "Paris.", "citations": None}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 49,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 6,
            "output_tokens_details": {"thinking_tokens": 0},
        },
    }


def test_a_stream_has_the_order_that_clients_rely_on(echo: ApiServer) -> None:
    events = stream(echo, **user("Paris."))
    start, begin, *deltas, stop, delta, end = events
    assert start["message"]["content"] == [] and start["message"]["stop_reason"] is None
    counted = call(echo.url, f"{URL}/count_tokens", ASK | user("Paris.")).json()
    assert start["message"]["usage"]["input_tokens"] == counted["input_tokens"]
    assert begin["type"] == "content_block_start" and begin["index"] == 0
    assert "".join(event["delta"]["text"] for event in deltas) == "Paris."
    assert stop == {"type": "content_block_stop", "index": 0}
    assert delta["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert delta["usage"]["output_tokens"] == 6
    assert end == {"type": "message_stop"}


def test_the_message_starts_and_pings_while_the_prompt_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(anthropic, "PING_EVERY_S", 0.05)
    with serve_api() as server:
        server.runner.gate.clear()
        with open_stream(server.url, URL, ASK | {"stream": True}) as connection:
            head = read_until(connection, b'event: ping\ndata: {"type": "ping"}\n\n')
            assert b'"input_tokens":49' in head and b"content_block_start" not in head
            server.runner.gate.set()
            said = read_until(connection, b"event: message_stop\n")
            assert b"".join(re.findall(rb'"text":"([^"]*)"', said)) == b"Paris."


def test_what_was_read_from_the_cache_is_no_input() -> None:
    with serve_api(FakeRunner(b"ok", chat_template=QWEN)) as server:
        first = message(server)["usage"]
        again = stream(server)[-2]["usage"]
        marked = message(server, cache_control={"type": "ephemeral"}, **user("x" * 200))["usage"]
    sent = first["input_tokens"]
    assert (first["cache_read_input_tokens"], first["cache_creation_input_tokens"]) == (0, 0)
    assert again["input_tokens"] == 1 and again["cache_read_input_tokens"] == sent - 1
    assert marked["input_tokens"] == 1 and marked["cache_creation_input_tokens"] > 200
    assert marked["cache_read_input_tokens"] > 0


def test_no_tokens_asked_for_is_a_prompt_computed_and_kept() -> None:
    with serve_api() as server:
        warm = message(server, max_tokens=0)
        streamed = gather(stream(server, max_tokens=0))
        read = message(server)["usage"]["cache_read_input_tokens"]
    for found in (warm, streamed):
        assert (found["content"], found["stop_reason"]) == ([], "max_tokens")
        assert found["usage"]["output_tokens"] == 0
    assert warm["usage"]["input_tokens"] == 49 and read == 48


def test_reasons_to_stop(echo: ApiServer) -> None:
    cut = message(echo, max_tokens=3, **user("Paris."))
    assert (cut["content"][0]["text"], cut["stop_reason"]) == ("Par", "max_tokens")
    stopped = message(echo, stop_sequences=["x", "s."], **user("Paris. "))
    assert (stopped["content"][0]["text"], stopped["stop_reason"]) == ("Pari", "stop_sequence")
    assert stopped["stop_sequence"] == "s."


def test_an_answer_may_fill_the_context_but_a_prompt_needs_room() -> None:
    with serve_api(FakeRunner(num_cells=CELLS_PER_BLOCK)) as server:
        found = message(server, max_tokens=128_000)
        assert found["stop_reason"] == "model_context_window_exceeded"
        assert sum(found["usage"][f"{kind}_tokens"] for kind in ("input", "output")) == 256
        refused = error(server, 400, **user("x" * 300))
    # Claude Code takes both numbers out of this text, and shortens its conversation.
    assert refused["message"] == "prompt is too long: 319 tokens > 255 maximum"
    assert refused["type"] == "invalid_request_error"


def test_calls_are_blocks_and_the_reason(echo: ApiServer) -> None:
    asked = 'I look.<tool_call>\n{"name": "Bash", "arguments": {"command": "ls"}}\n</tool_call>'
    found = message(echo, tools=[TOOL], **user(asked))
    text, used = found["content"]
    assert text["text"] == "I look."
    assert used.pop("id").startswith("toolu_")
    assert used == {"type": "tool_use", "name": "Bash", "input": {"command": "ls"}}
    assert found["stop_reason"] == "tool_use"


def test_a_single_call_is_enough_where_only_one_may_be(echo: ApiServer) -> None:
    asked = '<tool_call>\n{"name": "Bash", "arguments": {}}\n</tool_call>\n' * 2
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    for fields, count in (({}, 2), ({"tool_choice": choice}, 1)):
        found = message(echo, tools=[TOOL], **user(asked), **fields)
        assert [block["type"] for block in found["content"]] == ["tool_use"] * count
        assert found["stop_reason"] == "tool_use"


def test_thoughts_are_shown_to_those_who_asked(echo: ApiServer) -> None:
    asked = user("<think>\nhm\n</think>\n\nParis.")
    shown = message(echo, thinking=THINK, **asked)
    assert [block["type"] for block in shown["content"]] == ["thinking", "text"]
    assert shown["content"][0]["thinking"].strip() == "hm" and shown["content"][0]["signature"]
    assert shown["usage"]["output_tokens_details"]["thinking_tokens"] > 0
    omitted = message(echo, thinking=THINK | {"display": "omitted"}, **asked)
    assert omitted["content"][0]["thinking"] == ""
    assert omitted["content"][1]["text"] == shown["content"][1]["text"]


@pytest.mark.parametrize("display", ["summarized", "omitted"])
@pytest.mark.parametrize("arguments", ['{"command": "ls é", "n": 1.0}', "{}"])
def test_an_answer_that_comes_back_is_in_the_cache_to_its_end(display: str, arguments: str) -> None:
    asked = (
        "<think>\nhm\n</think>\n\nI look.\n"
        f'<tool_call>\n{{"name": "Bash", "arguments": {arguments}}}\n</tool_call>'
    )
    body = user(asked) | {"tools": [TOOL], "thinking": THINK | {"display": display}}
    runner = FakeRunner(last_question, chat_template=QWEN, num_cells=16 * CELLS_PER_BLOCK)
    with serve_api(runner) as server:
        first = message(server, **body)
        used = first["content"][-1]["id"]
        body["messages"] += [
            {"role": "assistant", "content": first["content"]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": used, "content": "a.txt"}],
            },
        ]
        read = message(server, **body)["usage"]["cache_read_input_tokens"]
    assert read == first["usage"]["input_tokens"] + first["usage"]["output_tokens"]


def test_a_failure_in_mid_stream_is_the_last_event() -> None:
    with serve_api() as server:
        server.runner.error = RunnerError("the device is gone")
        *_, last = stream(server)
        server.runner.error = RunnerError("the device is gone", retriable=True)
        whole = error(server, 503)
    assert last["type"] == "error" and last["error"]["type"] == "api_error"
    assert "the device is gone" in last["error"]["message"]
    assert whole["type"] == "api_error"


BAD: list[tuple[Record, str]] = [
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "user"}]}, "messages.0.content"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": [5]}]}, "messages.0.content.0"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
    ({"messages": [{"role": "user", "content": ""}]}, "messages"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
        "messages.0.content.0.image",
    ),
    ({"system": 5}, "system"),
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": "5"}, "max_tokens"),
    ({"temperature": 3.0}, "temperature"),
    ({"top_k": -1}, "top_k"),
    ({"stop_sequences": "x"}, "stop_sequences"),
    ({"stop_sequences": [""]}, "stop_sequences"),
    ({"tools": [{"name": "x"}]}, "tools.0.input_schema"),
    ({"tools": [{"name": "", "input_schema": {}}]}, "tools.0.name"),
    ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"thinking": {"type": "much"}}, "thinking.type"),
    ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
    (
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "x"}}}},
        "output_config.format.schema",
    ),
]


@pytest.mark.parametrize(("changes", "field"), BAD, ids=lambda value: str(value)[:60])
def test_what_is_wrong_is_named(server: ApiServer, changes: Record, field: str) -> None:
    refused = error(server, 400, **changes)
    assert refused["type"] == "invalid_request_error"
    assert refused["details"]["field"] == field
    assert field in refused["message"]


def test_what_is_not_known_is_ignored(server: ApiServer) -> None:
    unknown: Record = {
        "betas": ["x"],
        "context_management": {"edits": []},
        "container": None,
        "new": 1,
    }
    block = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}, "new": 1}
    tools = [{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}]
    found = message(server, messages=[{"role": "user", "content": [block]}], tools=tools, **unknown)
    assert found["content"][0]["text"] == "Paris."


@pytest.mark.parametrize("raw", [b"{", b"\xff\xfe\x00", b"[]", b""])
def test_a_body_that_is_none_is_refused_in_anthropics_words(server: ApiServer, raw: bytes) -> None:
    for path in (URL, f"{URL}/count_tokens"):
        answer = call(server.url, path, raw, method="POST")
        assert answer.status == 400 and answer.json()["error"]["type"] == "invalid_request_error"


def test_other_refusals_have_anthropics_types() -> None:
    with serve_api(token="secret", max_waiting=0) as server:
        answer = call(server.url, URL, ASK)
        assert (answer.status, answer.json()["error"]["type"]) == (401, "authentication_error")
        for header in ({"x-api-key": "secret"}, {"authorization": "Bearer secret"}):
            versions = header | {"anthropic-version": "2031-01-01"}
            assert call(server.url, URL, ASK, headers=versions).status == 200
            answer = call(server.url, URL, ASK | {"model": "x"}, headers=header)
            assert (answer.status, answer.json()["error"]["type"]) == (404, "not_found_error")
            answer = call(server.url, f"{URL}/batches", {}, headers=header)
            assert (answer.status, answer.json()["error"]["type"]) == (404, "not_found_error")


def test_a_full_queue_says_when_to_come_back() -> None:
    with serve_api(FakeRunner(b"ok", num_slots=1), max_waiting=0) as server:
        server.runner.gate.clear()
        with open_stream(server.url, URL, ASK | {"stream": True}) as connection:
            read_until(connection, b"message_start")
            answer = call(server.url, URL, ASK)
            server.runner.gate.set()
    assert (answer.status, answer.json()["error"]["type"]) == (429, "rate_limit_error")
    assert int(answer.headers["retry-after"]) >= 1


def test_a_seed_gives_the_same_answer_again(server: ApiServer) -> None:
    seeded = {"seed": 7, "temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.05}
    assert message(server, **seeded)["content"] == message(server, **seeded)["content"]


WORDS = st.text("ab é\n", max_size=8)
CALLS = st.dictionaries(WORDS, WORDS | st.integers(-9, 9), max_size=2).map(
    lambda arguments: (
        f"<tool_call>\n{json.dumps({'name': 'Bash', 'arguments': arguments})}\n</tool_call>"
    )
)
ANSWERS = st.tuples(
    st.one_of(st.just(""), WORDS.map(lambda text: f"<think>\n{text}\n</think>\n\n")),
    st.lists(WORDS | CALLS, min_size=1, max_size=4).map("".join),
).map("".join)
FIELDS = st.fixed_dictionaries(
    {"max_tokens": st.sampled_from([0, 1, 7, 30, 500])},
    optional={
        "tools": st.just([TOOL]),
        "thinking": st.sampled_from([THINK, THINK | {"display": "omitted"}, {"type": "disabled"}]),
        "stop_sequences": st.lists(st.sampled_from(["a", "b\n", "}", "é"]), max_size=2),
        "tool_choice": st.sampled_from(
            [{"type": "none"}, {"type": "auto", "disable_parallel_tool_use": True}]
        ),
        "cache_control": st.just({"type": "ephemeral"}),
        "seed": st.integers(0, 3),
    },
)


@settings(max_examples=300, deadline=None)
@given(ANSWERS.filter(str.strip), FIELDS)
def test_streamed_and_whole_say_the_same(echo: ApiServer, answer: str, fields: Record) -> None:
    whole = message(echo, **user(answer), **fields)
    streamed = gather(stream(echo, **user(answer), **fields))
    assert _comparable(streamed) == _comparable(whole)


def _comparable(found: Record) -> Any:
    """Without ids, and with tokens that are now in the cache counted as they were before."""
    usage = dict(found["usage"])
    sent = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    usage["sent"] = sum(usage.pop(name) for name in sent)
    content = [{k: v for k, v in block.items() if k != "id"} for block in found["content"]]
    return content, found["stop_reason"], found["stop_sequence"], usage


def test_sub_agents_do_not_wait_for_their_session() -> None:
    """Nor for each other; what the session itself asks next waits for its turn."""
    session = {"X-Claude-Code-Session-Id": "s1"}
    body = ASK | {"tools": [TOOL], "max_tokens": 8}
    with serve_api(FakeRunner()) as server:
        endless = body | {"stream": True, "max_tokens": 100_000}
        endless |= {"metadata": {"user_id": json.dumps({"session_id": "s1"})}}
        server.runner.step_s = 0.01
        with open_stream(server.url, URL, endless) as main:
            read_until(main, b"text_delta")
            for agent in ("a", "b"):
                headers = session | {"x-claude-code-agent-id": agent}
                assert call(server.url, URL, body, headers=headers).status == 200
            assert server.running == 1
        assert call(server.url, URL, body, headers=session).status == 200
