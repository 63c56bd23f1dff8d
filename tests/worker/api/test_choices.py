"""Several choices of one chat request."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.runner import FakeRunner
from tests.rigs.api_server import ApiServer, serve_api
from tests.rigs.http import call, eventually, open_stream, read_until
from worker.engine.runner import RunnerError

URL = "/v1/chat/completions"
CHAT: dict[str, Any] = {"model": "fake", "messages": [{"role": "user", "content": "x"}]}


def test_choices_are_indexed_and_the_prompt_counts_once(server: ApiServer) -> None:
    one = call(server.url, URL, CHAT).json()
    three = call(server.url, URL, CHAT | {"n": 3}).json()
    assert [choice["index"] for choice in three["choices"]] == [0, 1, 2]
    assert {choice["message"]["content"] for choice in three["choices"]} == {"Paris."}
    assert {choice["finish_reason"] for choice in three["choices"]} == {"stop"}
    assert three["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]
    assert three["usage"]["completion_tokens"] == 3 * one["usage"]["completion_tokens"]


def test_choices_are_streamed_side_by_side() -> None:
    with serve_api(FakeRunner(b"Paris.")) as server:
        ask = CHAT | {"n": 2, "stream": True, "stream_options": {"include_usage": True}}
        *chunks, usage, done = call(server.url, URL, ask).events
        whole = call(server.url, URL, CHAT | {"n": 2}).json()["usage"]
    assert done == "[DONE]"
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == whole["completion_tokens"] == 12
    choices = [chunk["choices"][0] for chunk in chunks]
    for index in (0, 1):
        mine = [choice for choice in choices if choice["index"] == index]
        assert mine[0]["delta"] == {"role": "assistant", "content": ""}
        assert "".join(choice["delta"].get("content", "") for choice in mine) == "Paris."
        assert [choice["finish_reason"] for choice in mine[-2:]] == [None, "stop"]
    first_end = next(at for at, choice in enumerate(choices) if choice["finish_reason"])
    assert {choice["index"] for choice in choices[:first_end]} == {0, 1}


def test_each_choice_has_a_seed_of_its_own(server: ApiServer) -> None:
    before = len(server.runner.batches)
    call(server.url, URL, CHAT | {"n": 3, "seed": (1 << 64) - 2})
    seeds = {
        item.seq.request.params.seed
        for batch in server.runner.batches[before:]
        for item in batch.items
    }
    assert seeds == {(1 << 64) - 2, (1 << 64) - 1, 0}


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_all_choices(stream: bool) -> None:
    with serve_api(FakeRunner()) as server:
        server.runner.gate.clear()
        connection = open_stream(server.url, URL, CHAT | {"n": 3, "stream": stream})
        if stream:
            read_until(connection, b"assistant")
        eventually(lambda: server.engine.step_seconds > 0)
        connection.close()
        server.runner.gate.set()
        eventually(lambda: server.engine.stats().cancelled_total == 3)


@pytest.mark.parametrize("stream", [True, False])
def test_a_failure_of_one_is_the_failure_of_all(stream: bool) -> None:
    with serve_api(FakeRunner(b"Paris.")) as server:
        server.runner.error = RunnerError("out of luck", code="BROKEN", retriable=False)
        answer = call(server.url, URL, CHAT | {"n": 2, "stream": stream})
        error = answer.events[-1] if stream else answer.json()
        assert error["error"]["message"] == "out of luck"
        eventually(lambda: server.running == 0)


def test_a_queue_without_room_for_all_takes_none() -> None:
    with serve_api(FakeRunner(b"Paris.", num_slots=1), max_waiting=1) as server:
        answer = call(server.url, URL, CHAT | {"n": 5})
        assert answer.status == 429
        eventually(lambda: server.running == 0)
        assert call(server.url, URL, CHAT).status == 200
