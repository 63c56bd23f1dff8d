"""Keys, rates, origins, priorities: what a request passes before a route sees it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pool_core.api_keys import KeyFile
from pool_core.errors import UsageError
from tests.fakes.runner import FakeRunner
from tests.rigs.api_server import serve_api
from tests.rigs.http import Answer, call, eventually, open_stream, read_rest, read_until
from worker.limits import Limits
from worker.settings import WorkerSettings

ASK = {"job_id": "j", "prompt": "x", "max_tokens": 4}
CHAT = {"model": "fake", "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys")


def ask(url: str, key: str = "", **headers: str) -> Answer:
    given = {"authorization": f"Bearer {key}"} if key else {}
    return call(url, "/execute", ASK, headers=given | headers)


def test_each_key_of_the_file_opens_and_a_removed_one_does_not(
    keys: KeyFile, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = keys.add("one"), keys.add("two")
    with serve_api(keys=keys.path, token="secret") as server:
        with caplog.at_level(logging.INFO, "worker.access"):
            for key in (one, two, "secret"):
                assert ask(server.url, key).status == 200
            eventually(lambda: len(caplog.records) == 3)
        assert [record.data["key"] for record in caplog.records] == ["one", "two", "token"]  # type: ignore[attr-defined]
        assert one not in caplog.text and two not in caplog.text
        assert ask(server.url).status == 401
        keys.remove("one")
        three = keys.add("three")
        assert [ask(server.url, key).status for key in (one, two, three)] == [401, 200, 200]


def test_a_file_that_makes_no_sense_changes_nothing_and_none_closes(keys: KeyFile) -> None:
    key = keys.add("one")
    with serve_api(keys=keys.path) as server:
        assert ask(server.url, key).status == 200
        keys.path.write_text("nonsense\n")
        assert ask(server.url, key).status == 200
        keys.path.unlink()
        assert ask(server.url, key).status == 401


def test_listening_wider_needs_a_key(keys: KeyFile) -> None:
    def settings(file: Path | None) -> WorkerSettings:
        return WorkerSettings(Path("/m.gguf"), "m", "cpu", host="0.0.0.0", keys=file)

    keys.create()
    for file in (None, keys.path):
        with pytest.raises(UsageError, match="without a key"):
            settings(file)
    keys.add("one")
    assert settings(keys.path).keys == keys.path
    keys.path.chmod(0o644)
    with pytest.raises(UsageError, match="open to other users"):
        settings(keys.path)


def test_requests_per_minute_are_counted_for_each_key_and_for_all(keys: KeyFile) -> None:
    one, two = keys.add("one"), keys.add("two")
    limits = Limits(key_requests_per_minute=2, requests_per_minute=3)
    with serve_api(keys=keys.path, limits=limits) as server:
        answers = [ask(server.url, key) for key in (one, one, one, two, two)]
        assert [answer.status for answer in answers] == [200, 200, 429, 200, 429]
        first, refused = answers[0].headers, answers[2]
        assert first["x-ratelimit-limit-requests"] == "2"
        assert first["x-ratelimit-remaining-requests"] == "1"
        assert 0 < float(first["x-ratelimit-reset-requests"].rstrip("s")) <= 60
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.json()["error"]["code"] == "RATE_LIMITED"
        assert call(server.url, "/v1/models", headers={"x-api-key": one}).status == 200
        assert (
            call(server.url, "/cancel", {"job_id": "j"}, headers={"x-api-key": one}).status == 200
        )


def test_tokens_are_charged_when_they_are_known() -> None:
    with serve_api(limits=Limits(tokens_per_minute=5)) as server:
        first = ask(server.url)
        assert first.headers["x-ratelimit-remaining-tokens"] == "5"
        eventually(lambda: ask(server.url).status == 429)
        refused = call(server.url, "/v1/chat/completions", CHAT)
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert int(refused.headers["retry-after"]) >= 1


def test_a_key_has_so_many_requests_at_a_time() -> None:
    runner = FakeRunner(b"Paris.")
    runner.gate.clear()
    with serve_api(runner, limits=Limits(key_concurrency=1)) as server:
        with open_stream(server.url, "/execute", ASK) as running:
            read_until(running, b"started")
            assert ask(server.url).status == 429
            runner.gate.set()
            read_rest(running)
        eventually(lambda: ask(server.url).status == 200)


def test_web_pages_may_use_a_worker_only_when_it_was_told_so() -> None:
    page = {"origin": "https://page.example"}
    preflight = page | {"access-control-request-method": "POST"}
    with serve_api() as server:
        assert ask(server.url, **page).status == 403
        assert "access-control-allow-origin" not in ask(server.url, **page).headers
        assert call(server.url, "/execute", method="OPTIONS", headers=preflight).status != 200
        assert ask(server.url, origin=server.url).status == 200
    with serve_api(cors=("https://page.example",)) as server:
        answer = ask(server.url, **page)
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "https://page.example"
        assert call(server.url, "/execute", method="OPTIONS", headers=preflight).status == 200
        assert ask(server.url, origin="https://other.example").status == 403


def test_a_full_queue_says_when_to_come_back() -> None:
    runner = FakeRunner(b"Paris.")
    runner.gate.clear()
    with serve_api(runner, max_waiting=0) as server, ExitStack() as stack:
        streams = [open_stream(server.url, "/execute", ASK) for _ in range(4)]
        running = [stack.enter_context(stream) for stream in streams]
        for one in running:
            read_until(one, b"started")
        refused = ask(server.url)
        assert refused.status == 429 and int(refused.headers["retry-after"]) >= 1
        runner.gate.set()
        assert all(b'"type":"end"' in read_rest(one) for one in running)


@pytest.mark.parametrize("order", ["priority", "fifo"])
def test_the_higher_priority_goes_first_where_that_is_the_order(order: str) -> None:
    runner = FakeRunner(b"Paris.")
    runner.gate.clear()
    seen: list[int] = []
    with serve_api(runner, limits=Limits(queue_order=order)) as server:
        generate = server.engine.generate

        def noting(request, on_end=None):  # type: ignore[no-untyped-def]
            seen.append(request.priority)
            return generate(request, on_end)

        server.engine.generate = noting  # type: ignore[method-assign]
        runner.gate.set()
        for priority in ("3", "1", "-7"):
            assert ask(server.url, **{"x-priority": priority}).status == 200
        assert ask(server.url, **{"x-priority": "high"}).status == 400
    assert seen == ([3, 1, -7] if order == "priority" else [0, 0, 0])


@pytest.fixture(scope="module")
def strict_url() -> Iterator[str]:
    limits = Limits(max_body=1000, body_timeout_s=0.2, max_headers=4096, header_timeout_s=0.3)
    with serve_api(limits=limits) as server:
        yield server.url


def raw(url: str, data: bytes) -> bytes:
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(data)
        return read_rest(connection)


def test_bodies_are_bounded(strict_url: str) -> None:
    for body in (b"x" * 1001, b"x" * 5_000_000):
        assert call(strict_url, "/execute", body).status == 413
    start = b"POST /execute HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    chunked = start + b"transfer-encoding: chunked\r\n\r\n"
    assert b" 413 " in raw(strict_url, chunked + b"7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n")
    assert b" 408 " in raw(strict_url, start + b"content-length: 9\r\n\r\n{")


def test_headers_are_bounded(strict_url: str) -> None:
    start = b"GET /health HTTP/1.1\r\nhost: x\r\n"
    assert b" 431 " in raw(strict_url, start + b"x-a: " + b"a" * 9000)
    assert b" 408 " in raw(strict_url, start)
    assert b" 408 " in raw(strict_url, b"")
    assert b" 200 " in raw(strict_url, start + b"connection: close\r\n\r\n")


def test_a_prompt_that_cannot_fit_is_refused_before_it_is_read() -> None:
    runner = FakeRunner(b"Paris.")
    read: list[int] = []
    tokenize = runner.vocab.tokenize

    def noting(text: str, **how: bool) -> list[int]:
        read.append(len(text))
        return tokenize(text, **how)

    runner.vocab.tokenize = noting  # type: ignore[method-assign]
    with serve_api(runner) as server:
        answer = call(server.url, "/execute", ASK | {"prompt": "x" * 1_000_000})
        assert answer.status == 400 and answer.json()["error"]["code"] == "PROMPT_TOO_LONG"
        assert answer.json()["error"]["limit"] == server.engine.max_prompt_tokens
    assert max(read, default=0) < 1_000_000
