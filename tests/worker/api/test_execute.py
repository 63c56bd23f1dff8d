"""`/execute` and `/cancel` over a scripted model, through real sockets."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.fakes.runner import FakeRunner
from tests.rigs.api_server import ApiServer, serve_api
from tests.rigs.http import call, eventually, open_stream, read_rest, read_until
from worker.api.schemas.execute import ExecuteRequest
from worker.engine.runner import RunnerError

SCHEMAS = Path(__file__).resolve().parents[3] / ".specs" / "schemas"
ASK = {"job_id": "j", "prompt": "What is the capital of France?"}


def schema(name: str) -> Any:
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text())


def text_of(events: list[Any]) -> str:
    return "".join(event["t"] for event in events if event["type"] == "token")


def test_answer_is_a_stream_of_typed_events(server: ApiServer) -> None:
    answer = call(server.url, "/execute", ASK)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.events == [
        {"type": "started", "job_id": "j"},
        *({"type": "token", "t": t, "i": i} for i, t in enumerate("Paris.")),
        {"type": "end", "tokens_out": 6, "stop_reason": "EOS"},
    ]


@pytest.mark.parametrize("extra", [{}, {"metrics": True}, {"logprobs": 3}, {"max_tokens": 2}])
def test_events_match_their_schema(server: ApiServer, extra: dict[str, Any]) -> None:
    events = call(server.url, "/execute", ASK | extra).events
    for event in events:
        jsonschema.validate(event, schema("execute-event"))
    assert [e["type"] for e in events if e["type"] not in ("token", "metrics")] == [
        "started",
        "end",
    ]


def test_clock_values_and_ids_come_only_when_asked(server: ApiServer) -> None:
    headers = {"x-request-id": "mine"}
    plain = call(server.url, "/execute", ASK, headers=headers).text
    assert "mine" not in plain and '"id"' not in plain and "_s" not in plain
    metrics = call(server.url, "/execute", ASK | {"metrics": True}, headers=headers).events[-2]
    assert metrics["request_id"] == "mine"
    assert (metrics["prompt_tokens"], metrics["completion_tokens"]) == (31, 6)


def test_logprobs_name_the_token_and_the_likeliest(server: ApiServer) -> None:
    first = call(server.url, "/execute", ASK | {"logprobs": 1}).events[1]
    assert first == {
        "type": "token",
        "t": "P",
        "i": 0,
        "id": 80,
        "logprob": -0.5,
        "top_logprobs": [{"id": 80, "t": "P", "logprob": -0.5}],
    }


def test_a_character_is_never_split() -> None:
    with serve_api(FakeRunner("né 🎉!".encode())) as server:
        events = call(server.url, "/execute", ASK).events
    tokens = [event["t"] for event in events if event["type"] == "token"]
    assert tokens == ["n", "", "é", " ", "", "", "", "🎉", "!"]


def test_an_unfinished_character_at_the_end_is_shown_as_such() -> None:
    with serve_api(FakeRunner("🎉".encode())) as server:
        events = call(server.url, "/execute", ASK | {"max_tokens": 2}).events
    assert events[1:] == [
        {"type": "token", "t": "", "i": 0},
        {"type": "token", "t": "", "i": 1},
        {"type": "token", "t": "\ufffd", "i": 2},
        {"type": "end", "tokens_out": 2, "stop_reason": "LENGTH"},
    ]


def test_stop_string_ends_the_answer_and_is_not_in_it(server: ApiServer) -> None:
    for stop in ("ris", ["x", "ris"]):
        events = call(server.url, "/execute", ASK | {"stop": stop}).events
        assert text_of(events) == "Pa"
        assert events[-1] == {"type": "end", "tokens_out": 5, "stop_reason": "STOP_STRING"}


def test_text_held_back_for_a_stop_string_comes_at_the_end(server: ApiServer) -> None:
    events = call(server.url, "/execute", ASK | {"stop": "s.!"}).events
    assert text_of(events) == "Paris."
    assert events[-2] == {"type": "token", "t": "s.", "i": 6}


def test_end_of_text_can_be_ignored(server: ApiServer) -> None:
    events = call(server.url, "/execute", ASK | {"ignore_eos": True, "max_tokens": 9}).events
    assert events[-1] == {"type": "end", "tokens_out": 9, "stop_reason": "LENGTH"}


@pytest.mark.parametrize(
    "content_type", [None, "application/x-www-form-urlencoded", "text/plain", "nonsense"]
)
def test_content_type_does_not_matter(server: ApiServer, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    assert call(server.url, "/execute", ASK, headers=headers).status == 200


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"job_id": None}, "job_id"),
    ({"job_id": ""}, "job_id"),
    ({"job_id": "x" * 129}, "job_id"),
    ({"job_id": 5}, "job_id"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": 5}, "prompt"),
    ({"prompt": ["a"]}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": "5"}, "max_tokens"),
    ({"max_tokens": 5.5}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_tokens": 10**30}, "max_tokens"),
    ({"max_tokens": None}, "max_tokens"),
    ({"temperature": 3.0}, "temperature"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": "0"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"seed": 1.5}, "seed"),
    ({"seed": 1 << 64}, "seed"),
    ({"top_p": 1.1}, "top_p"),
    ({"top_k": -1}, "top_k"),
    ({"min_p": 2}, "min_p"),
    ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"stop": 5}, "stop"),
    ({"stop": ""}, "stop"),
    ({"stop": ["a", 5]}, "stop.1"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ({"logprobs": 21}, "logprobs"),
    ({"logprobs": True}, "logprobs"),
    ({"ignore_eos": 0}, "ignore_eos"),
    ({"metrics": 1}, "metrics"),
    ({"reproducible": "yes"}, "reproducible"),
    ({"temprature": 1}, "temprature"),
    ({"typical_p": 1.1}, "typical_p"),
    ({"presence_penalty": -3}, "presence_penalty"),
    ({"frequency_penalty": "1"}, "frequency_penalty"),
    ({"repeat_last_n": -2}, "repeat_last_n"),
    ({"dry_multiplier": -1}, "dry_multiplier"),
    ({"dry_base": 0.5}, "dry_base"),
    ({"dry_allowed_length": -1}, "dry_allowed_length"),
    ({"dry_penalty_last_n": -2}, "dry_penalty_last_n"),
    ({"dry_sequence_breakers": "x"}, "dry_sequence_breakers"),
    ({"dry_sequence_breakers": ["x", ""]}, "dry_sequence_breakers"),
    ({"xtc_probability": 2}, "xtc_probability"),
    ({"xtc_threshold": -1}, "xtc_threshold"),
    ({"mirostat": 3}, "mirostat"),
    ({"mirostat": True}, "mirostat"),
    ({"mirostat_tau": -1}, "mirostat_tau"),
    ({"mirostat_eta": 2}, "mirostat_eta"),
    ({"logit_bias": 5}, "logit_bias"),
    ({"logit_bias": {"a": 1}}, "logit_bias"),
    ({"logit_bias": {"1": True}}, "logit_bias"),
    ({"logit_bias": {"1": "2"}}, "logit_bias"),
    ({"logit_bias": [[1]]}, "logit_bias"),
    ({"logit_bias": [[-1, 1]]}, "logit_bias"),
    ({"logit_bias": [[1.5, 1]]}, "logit_bias"),
    ({"json_schema": "x"}, "json_schema"),
    ({"grammar": 5}, "grammar"),
    ({"regex": ["x"]}, "regex"),
    ({"agent": 5}, "agent"),
    ({"cache_prompt": None}, "cache_prompt"),
]


@pytest.mark.parametrize(("change", "field"), BAD_FIELDS, ids=lambda value: str(value)[:40])
def test_bad_field_is_refused_by_name(
    server: ApiServer, change: dict[str, Any], field: str
) -> None:
    answer = call(server.url, "/execute", ASK | change)
    error = answer.json()["error"]
    assert answer.status == 400
    assert (error["code"], error["field"]) == ("INVALID_REQUEST", field)
    assert field in error["message"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(ASK | change, schema("execute-request"))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"not json", "JSON"),
        (b'{"job_id":"x"', "JSON"),
        (b"[]", "object"),
        (b"5", "object"),
        (b"null", "object"),
        (b"{}", "job_id is required"),
        (b'{"job_id":"x"}', "prompt is required"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b'{"job_id":"x","prompt":"\xff"}', "not UTF-8: byte 24"),
        (b'{"job_id":"x","prompt":"\\ud800"}', "hex escape"),
        (b'{"job_id":"x","prompt":"a","temperature":NaN}', "temperature"),
        (b'{"job_id":"x","prompt":"a","temperature":1e999}', "temperature"),
        (b'{"job_id":"x","prompt":"a","max_tokens":' + b"9" * 5000 + b"}", "max_tokens"),
        (b'{"job_id":' + b"[" * 100_000, "100 deep"),
        (b'{"job_id":' * 100_000, "100 deep"),
        (b'{"job_id":"x","prompt":"a","prompt":"b"}', "twice"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_body_is_refused_with_a_reason(server: ApiServer, body: bytes, reason: str) -> None:
    answer = call(server.url, "/execute", body, method="POST")
    assert answer.status == 400
    assert reason in answer.json()["error"]["message"]


def test_schema_and_model_have_the_same_fields() -> None:
    described = schema("execute-request")["properties"]
    assert set(described) == set(ExecuteRequest.model_fields)
    defaults = {name: field.default for name, field in ExecuteRequest.model_fields.items()}
    for name, about in described.items():
        if "default" in about:
            assert about["default"] == defaults[name], name


def test_huge_body_is_refused_also_to_a_client_that_is_still_sending(server: ApiServer) -> None:
    for path, status in (("/execute", 413), ("/nowhere", 404)):
        answer = call(server.url, path, {"prompt": "x" * (20 << 20)})
        assert answer.status == status, answer.raw


def test_prompt_that_does_not_fit_is_refused_with_both_numbers(server: ApiServer) -> None:
    answer = call(server.url, "/execute", ASK | {"prompt": "x" * 5000})
    error = answer.json()["error"]
    assert (answer.status, error["code"], error["field"]) == (400, "PROMPT_TOO_LONG", "prompt")
    assert (error["prompt_tokens"], error["limit"]) == (5001, 2047)
    assert "5001" in error["message"] and "2047" in error["message"]


def test_answer_that_fills_the_context_ends_with_length() -> None:
    with serve_api(FakeRunner(num_cells=256)) as server:
        events = call(server.url, "/execute", ASK | {"max_tokens": 5000}).events
    assert events[-1] == {"type": "end", "tokens_out": 256 - 31, "stop_reason": "LENGTH"}


def test_full_queue_is_429_with_a_time_to_come_back() -> None:
    with serve_api(FakeRunner(num_slots=1), max_waiting=0) as server:
        server.runner.gate.clear()
        with open_stream(server.url, "/execute", ASK) as first:
            read_until(first, b"started")
            answer = call(server.url, "/execute", ASK)
            server.runner.gate.set()
    assert answer.status == 429
    assert answer.json()["error"]["code"] == "BUSY"
    assert 1 <= int(answer.headers["retry-after"]) <= 120


def test_cancel_ends_every_request_of_that_job() -> None:
    with serve_api(FakeRunner()) as server, ThreadPoolExecutor() as pool:
        server.runner.gate.clear()
        asks = [ASK, ASK, ASK | {"job_id": "other", "max_tokens": 3}]
        streams = [open_stream(server.url, "/execute", ask) for ask in asks]
        for stream in streams:
            read_until(stream, b"started")
        cancelled = call(server.url, "/cancel", {"job_id": "j"})
        server.runner.gate.set()
        ends = list(pool.map(lambda stream: read_until(stream, b'"end"'), streams))
        for stream in streams:
            stream.close()
        assert cancelled.json() == {"cancelled": 2}
        assert [b"CANCELLED" in end for end in ends] == [True, True, False]
        eventually(lambda: server.running == 0)
        assert server.service.jobs.request_ids("j") == []


def test_cancel_of_an_unknown_job_is_none_and_of_no_job_an_error(server: ApiServer) -> None:
    assert call(server.url, "/cancel", {"job_id": "nobody"}).json() == {"cancelled": 0}
    assert call(server.url, "/cancel", {}).json()["error"]["field"] == "job_id"


def test_client_that_leaves_in_mid_stream_frees_its_slot() -> None:
    with serve_api(FakeRunner(num_slots=1)) as server:
        stream = open_stream(server.url, "/execute", ASK | {"max_tokens": 2000})
        read_until(stream, b'"i":0')
        steps = len(server.runner.batches)
        stream.close()
        eventually(lambda: server.engine.stats().cancelled_total == 1)
        assert len(server.runner.batches) - steps < 1500
        assert call(server.url, "/execute", ASK | {"max_tokens": 1}).status == 200
        assert server.service.jobs.request_ids("j") == []


def test_client_that_leaves_before_the_first_token_frees_its_slot() -> None:
    with serve_api(FakeRunner(num_slots=1)) as server:
        server.runner.gate.clear()
        stream = open_stream(server.url, "/execute", ASK)
        read_until(stream, b"started")
        stream.close()
        server.runner.gate.set()
        eventually(lambda: server.engine.stats().cancelled_total == 1)


def test_client_that_stops_reading_is_dropped_and_others_go_on() -> None:
    endless = {"job_id": "slow", "ignore_eos": True, "reproducible": False}
    runner = FakeRunner(b"x" * 6000, num_cells=64 * 256)
    with serve_api(runner, max_buffered_events=1000) as server:
        asks = [{"prompt": "a", "max_tokens": 5000}, {"prompt": "b", "max_tokens": 5000}]
        slow = open_stream(server.url, "/execute", endless | asks[0], receive_buffer=4096)
        with slow, open_stream(server.url, "/execute", endless | asks[1]) as other:
            assert b'"tokens_out":5000' in read_until(other, b'"end"')
            eventually(lambda: server.engine.stats().cancelled_total == 1)
            assert server.running == 0
            rest = read_until(slow, b'"error"') + read_rest(slow)
        assert b'"SLOW_READER"' in rest and rest.count(b'"token"') < 5000


def test_failure_of_the_model_is_one_error_event_and_the_worker_lives() -> None:
    with serve_api() as server:
        server.runner.error = RunnerError("out of luck", code="DECODE_FAILED", retriable=True)
        events = call(server.url, "/execute", ASK, headers={"x-request-id": "r1"}).events
        assert events == [
            {"type": "started", "job_id": "j"},
            {
                "type": "error",
                "code": "DECODE_FAILED",
                "message": "out of luck",
                "retriable": True,
                "request_id": "r1",
            },
        ]
        jsonschema.validate(events[-1], schema("execute-event"))
        assert text_of(call(server.url, "/execute", ASK).events) == "Paris."


def test_prompt_gets_one_bos(server: ApiServer) -> None:
    def prompt_tokens(prompt: str) -> int:
        ask = ASK | {"prompt": prompt, "metrics": True}
        tokens: int = call(server.url, "/execute", ask).events[-2]["prompt_tokens"]
        return tokens

    assert prompt_tokens("abc") == 4
    assert prompt_tokens("<s>abc") == 6  # the scripted vocabulary spells "<s>" in bytes
