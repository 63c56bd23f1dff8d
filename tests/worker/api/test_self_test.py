"""`/self-test` over a scripted model, through real sockets."""

from __future__ import annotations

from typing import Any

from pool_core.spawn.report import WorkerStatus
from tests.fakes.hashing_runner import HashingRunner
from tests.rigs.api_server import serve_api
from tests.rigs.http import call, eventually, open_stream, read_until


def verdicts(events: list[Any]) -> dict[tuple[str, str], str]:
    found = [event for event in events if event["type"] == "check"]
    return {(event["name"], event["kind"]): event["verdict"] for event in found}


def test_a_sound_worker_passes_and_says_how_far_it_is() -> None:
    with serve_api(HashingRunner()) as server:
        events = call(server.url, "/self-test", {}).events
    assert events[0] == {"type": "progress", "done": 1, "total": events[0]["total"]}
    assert events[-1]["type"] == "end" and events[-1]["ok"]
    assert verdicts(events)["with prefill", "reproducible"] == "passed"
    assert "failed" not in verdicts(events).values()


def test_a_broken_one_does_not() -> None:
    with serve_api(HashingRunner(leak=2.0)) as server:
        events = call(server.url, "/self-test", {}).events
    assert not events[-1]["ok"]
    assert verdicts(events)["together", "ordinary"] == "failed"


def test_the_tolerance_can_be_chosen_and_nothing_else() -> None:
    with serve_api(HashingRunner(leak=2.0)) as server:
        assert call(server.url, "/self-test", {"tolerance": 3.0}).events[-1]["ok"]
        for body in ({"tolerance": -1.0}, {"tolerance": "x"}, {"prompts": 3}):
            refusal = call(server.url, "/self-test", body)
            assert refusal.status == 400 and next(iter(body)) in refusal.json()["error"]["message"]


def test_it_needs_the_token_and_a_ready_worker() -> None:
    with serve_api(HashingRunner(), token="secret") as server:
        assert call(server.url, "/self-test", {}).status == 401
    with serve_api(HashingRunner(), status=WorkerStatus.STARTING) as server:
        assert call(server.url, "/self-test", {}).status == 503


def test_a_client_that_leaves_ends_it() -> None:
    with serve_api(HashingRunner()) as server:
        connection = open_stream(server.url, "/self-test", {})
        read_until(connection, b'"progress"')
        connection.close()
        eventually(lambda: server.running == 0)
        assert call(server.url, "/self-test", {"tolerance": 1.0}).events[-1]["ok"]
