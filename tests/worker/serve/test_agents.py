"""Agents of a real worker on a reference model: they outlive it, and it outlives their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.rigs.http import call, eventually
from tests.rigs.worker import WorkerProcess

TALK = "river stone and cloud over the hill " * 12
ASK = {"job_id": "j", "prompt": TALK, "max_tokens": 8, "metrics": True, "ignore_eos": True}
AGENT = {"X-Agent-Id": "ada"}


def ask(worker: WorkerProcess, **changes: Any) -> tuple[str, dict[str, Any]]:
    """The text of the answer, and its metrics."""
    events = call(worker.url, "/execute", ASK | changes, headers=AGENT).events
    text = "".join(event["t"] for event in events if event["type"] == "token")
    return text, events[-2]


def cache_of(worker: WorkerProcess) -> dict[str, Any]:
    facts: dict[str, Any] = call(worker.url, "/health").json()["cache"]
    return facts


def test_an_agent_comes_back_after_sigterm(tmp_path: Path) -> None:
    options = ("--agents", str(tmp_path / "agents"))
    with WorkerProcess(*options) as worker:
        worker.wait_ready()
        said, first = ask(worker, reproducible=False)
        worker.process.terminate()
        assert worker.wait_exit() == 0
    next_turn = TALK + said + " and then? "
    with WorkerProcess(*options) as worker:
        worker.wait_ready()
        assert cache_of(worker)["cold"]["count"] >= 1
        warm, metrics = ask(worker, prompt=next_turn, reproducible=False)
        plain, without = ask(worker, prompt=next_turn, reproducible=False, cache_prompt=False)
        assert cache_of(worker)["useless_restores_total"] == 0
    assert metrics["restored_tokens"] >= first["prompt_tokens"] - 1
    assert (warm, without["cached_tokens"]) == (plain, 0)


def test_an_agent_comes_back_after_kill_once_it_was_idle(tmp_path: Path) -> None:
    options = ("--agents", str(tmp_path / "agents"))
    with WorkerProcess(*options) as worker:
        worker.wait_ready()
        ask(worker, reproducible=False)
        eventually(lambda: cache_of(worker)["cold"]["count"] >= 1)
        worker.process.kill()
        worker.process.wait()
    with WorkerProcess(*options) as worker:
        worker.wait_ready()
        assert ask(worker, reproducible=False)[1]["restored_tokens"] > 0


def test_a_folder_of_no_use_is_said_in_the_log_and_in_health(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with WorkerProcess("--agents", str(tmp_path / "file" / "agents")) as worker:
        worker.wait_ready()
        ask(worker, reproducible=False)
        assert str(tmp_path / "file") in cache_of(worker)["disk_problem"]
        warnings = [line for line in worker.log_lines if line["level"] == "warning"]
    assert len(warnings) == 1 and "RAM only" in warnings[0]["msg"]
