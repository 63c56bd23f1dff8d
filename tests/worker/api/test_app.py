"""What all routes have in common: ids, tokens, errors, readiness, health, models."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from pool_core.spawn.report import WorkerStatus
from tests.rigs.api_server import ApiServer, serve_api
from tests.rigs.http import call, eventually

ASK = {"job_id": "j", "prompt": "x"}
CHAT = {"model": "fake", "messages": [{"role": "user", "content": "x"}]}


def test_request_id_is_echoed_made_and_cleaned(server: ApiServer) -> None:
    def answered(given: str | None) -> str:
        headers = {} if given is None else {"x-request-id": given}
        return call(server.url, "/health", headers=headers).headers["x-request-id"]

    assert answered("abc-1:2") == "abc-1:2"
    for unfit in (None, "", "two words", "x" * 129, "é"):
        assert answered(unfit).startswith("req-")


def test_request_id_is_in_errors_and_log_lines(
    server: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "worker.access"):
        answer = call(server.url, "/execute", {}, headers={"x-request-id": "r7"})
        eventually(lambda: bool(caplog.records))
    assert answer.json()["error"]["request_id"] == "r7"
    assert [record.getMessage() for record in caplog.records] == ["POST /execute 400"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "NOT_FOUND"),
        ("GET", "/execute", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/health", 405, "METHOD_NOT_ALLOWED"),
    ],
)
def test_unknown_routes_answer_in_our_envelope(
    server: ApiServer, method: str, path: str, status: int, code: str
) -> None:
    answer = call(server.url, path, method=method)
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)


def test_unknown_v1_routes_answer_in_openais_envelope(server: ApiServer) -> None:
    answer = call(server.url, "/v1/nowhere")
    assert answer.status == 404
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


REFUSED = [
    {},
    {"authorization": "Bearer wrong"},
    {"authorization": "Basic secret"},
    {"x-api-key": "wrong"},
    {"authorization": "secret"},
    {"x-api-key": "s\xe9cret"},
]
ACCEPTED = [
    {"authorization": "Bearer secret"},
    {"authorization": "bearer secret"},
    {"x-api-key": "secret"},
    {"authorization": "Bearer wrong", "x-api-key": "secret"},
]


def test_token_is_asked_for_everywhere_but_health() -> None:
    with serve_api(token="secret") as server:
        assert call(server.url, "/health").status == 200
        for path, body in (("/execute", ASK), ("/cancel", {"job_id": "j"}), ("/v1/models", None)):
            for headers in REFUSED:
                answer = call(server.url, path, body, headers=headers)
                assert answer.status == 401, headers
                assert answer.headers["www-authenticate"] == "Bearer"
                assert "secret" not in answer.text
            for headers in ACCEPTED:
                assert call(server.url, path, body, headers=headers).status == 200, headers
        wrong = call(server.url, "/v1/chat/completions", CHAT)
        assert wrong.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("status", "code"),
    [(WorkerStatus.STARTING, "MODEL_LOADING"), (WorkerStatus.DRAINING, "DRAINING")],
)
def test_a_worker_that_is_not_ready_says_when_to_come_back(status: WorkerStatus, code: str) -> None:
    routes: list[tuple[str, Any]] = [
        ("/execute", ASK),
        ("/execute", b"not json"),
        ("/v1/chat/completions", CHAT),
        ("/v1/models", None),
    ]
    with serve_api(status=status) as server:
        assert call(server.url, "/health").json()["status"] == status
        for path, body in routes:
            answer = call(server.url, path, body)
            assert answer.status == 503
            assert 1 <= int(answer.headers["retry-after"]) <= 120
            assert answer.json()["error"]["code"].upper() == code
        # What runs on while the worker drains can still be cancelled.
        may_cancel = status is WorkerStatus.DRAINING
        answer = call(server.url, "/cancel", {"job_id": "j"})
        assert answer.status == (200 if may_cancel else 503)


def test_health_tells_what_is_loaded(server: ApiServer) -> None:
    health = call(server.url, "/health").json()
    assert health["rss_bytes"] > 0 and health["pid"] > 0
    expected = {
        "status": "ready",
        "progress": 1.0,
        "model": "fake",
        "backend": "cpu",
        "device": "fake",
        "layers_on_device": 3,
        "layers_total": 3,
        "bytes_on_device": 1024,
        "context_length": 2048,
        "slots": 4,
        "vocab_size": 258,
        "tokenizer": "bpe",
        "quantization": "F16",
        "architecture": "fake",
        "build": "fake 1",
        "running": 0,
        "waiting": 0,
        "cells_total": 2048,
    }
    assert {name: health[name] for name in expected} == expected


def test_models_are_listed_for_both_sdks(server: ApiServer) -> None:
    listing = call(server.url, "/v1/models?limit=1000").json()
    card = listing["data"][0]
    assert (listing["object"], len(listing["data"]), listing["has_more"]) == ("list", 1, False)
    assert (card["id"], card["object"], card["type"]) == ("fake", "model", "model")
    assert (card["created"], card["created_at"]) == (1_700_000_000, "2023-11-14T22:13:20Z")
    assert call(server.url, "/v1/models/fake").json() == card
    assert call(server.url, "/v1/models/a/b").json()["error"]["code"] == "model_not_found"


def test_a_bug_is_a_500_in_the_envelope_and_nothing_of_its_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def explode(job_id: str) -> list[str]:
        raise RuntimeError("a secret path")

    with serve_api() as server:
        monkeypatch.setattr(server.service.jobs, "request_ids", explode)
        answer = call(server.url, "/cancel", {"job_id": "j"})
        assert (answer.status, answer.json()["error"]["code"]) == (500, "INTERNAL")
        assert "secret" not in answer.text
