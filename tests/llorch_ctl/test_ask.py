"""Asking a worker: both dialects, and every way it can end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest

from llorch_ctl.ask import AnswerBroken, Question, Reply, RequestRefused, ask
from llorch_ctl.tunnel import Endpoint
from pool_core.errors import UsageError
from tests.llorch_ctl.fake_worker import FakeWorker


def chunk(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


CHAT: list[dict[str, Any] | str] = [
    {"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]},
    chunk("Pa"),
    chunk("ris"),
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}},
    "[DONE]",
]
EXECUTE: list[dict[str, Any] | str] = [
    {"type": "started", "job_id": "x"},
    {"type": "token", "t": "Pa", "i": 0},
    {"type": "token", "t": "ris", "i": 1},
    {"type": "end", "tokens_out": 2, "stop_reason": "EOS"},
]


def asked(worker: FakeWorker, question: Question, token: str | None = None) -> tuple[str, Reply]:
    pieces: list[str] = []
    work = ask(Endpoint(worker.port), "ref-llama", question, token)
    while True:
        try:
            pieces.append(next(work))
        except StopIteration as stop:
            return "|".join(pieces), stop.value


def test_a_chat_streams_and_says_how_it_ended() -> None:
    with FakeWorker(CHAT).running() as worker:
        text, reply = asked(worker, Question("Capital?", "Be brief", 9, 0.0, 42))

    [(path, headers, body)] = worker.requests
    assert (text, reply.stop_reason, reply.num_tokens) == ("Pa|ris", "stop", 2)
    assert path == "/v1/chat/completions" and "authorization" not in headers
    assert body == {
        "model": "ref-llama",
        "messages": [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "Capital?"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 9,
        "temperature": 0.0,
        "seed": 42,
    }


def test_a_raw_prompt_goes_to_execute() -> None:
    with FakeWorker(EXECUTE).running() as worker:
        text, reply = asked(worker, Question("Once", is_raw=True), token="s3cret")

    [(path, headers, body)] = worker.requests
    assert (text, reply.stop_reason, reply.num_tokens) == ("Pa|ris", "EOS", 2)
    assert (path, headers["authorization"]) == ("/execute", "Bearer s3cret")
    assert body.keys() == {"job_id", "prompt"} and body["prompt"] == "Once"


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, '{"error":{"message":"temperature: too hot"}}', UsageError, "temperature: too hot"),
        (401, '{"error":{"message":"no token"}}', RequestRefused, "no token; the worker's token"),
        (429, '{"error":{"message":"busy"}}', RequestRefused, "busy; try again in 7 s"),
        (500, "<html>", RequestRefused, "500 Internal Server Error"),
    ],
)
def test_refusals(status: int, body: str, kind: type[Exception], words: str) -> None:
    with FakeWorker([body], status).running() as worker, pytest.raises(kind, match=words):
        asked(worker, Question("x"))


@pytest.mark.parametrize(
    ("records", "kind", "words"),
    [
        (CHAT[:2], AnswerBroken, "broke off; is the worker still running"),
        (["{not json"], AnswerBroken, "not JSON"),
        ([{"error": {"message": "out of room"}}], RequestRefused, "out of room"),
        ([{"type": "error", "code": "X", "message": "decode"}], RequestRefused, "decode"),
    ],
)
def test_answers_that_break(
    records: Sequence[dict[str, Any] | str], kind: type[Exception], words: str
) -> None:
    with FakeWorker(records).running() as worker, pytest.raises(kind, match=words):
        asked(worker, Question("x"))


def test_nobody_listens() -> None:
    with FakeWorker([]).running() as worker:
        port = worker.port
    with pytest.raises(AnswerBroken, match="refused"):
        list(ask(Endpoint(port), "m", Question("x")))


def test_closing_hangs_up_so_that_the_worker_stops() -> None:
    with FakeWorker(CHAT[:2], hold=True).running() as worker:
        with closing(ask(Endpoint(worker.port), "m", Question("x"))) as work:
            assert next(work) == "Pa"
        assert worker.hung_up.wait(10)
