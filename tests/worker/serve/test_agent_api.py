"""`/v1/agents` of real workers on reference models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.rigs.http import call, eventually
from tests.rigs.worker import MODELS, WorkerProcess

TALK = "river stone and cloud over the hill " * 12
ADA = "/v1/agents/ada"


def turn(worker: WorkerProcess, name: str, prompt: str, **fields: Any) -> dict[str, Any]:
    body = {"prompt": prompt, "max_tokens": 8, "stream": False, "metrics": True} | fields
    answer = call(worker.url, f"/v1/agents/{name}/generate", body)
    assert answer.status == 200, answer.text
    whole: dict[str, Any] = answer.json()
    return whole


@pytest.mark.parametrize("model", sorted(path.stem for path in MODELS.glob("*.gguf")))
def test_a_text_in_turns_is_the_text_in_one_piece(model: str) -> None:
    """Continued by name, the model reads what it would have read at once."""
    with WorkerProcess(model=model) as worker:
        worker.wait_ready()
        made = call(worker.url, "/v1/agents", {"name": "ada", "prompt": TALK})
        assert made.status == 201 and made.json()["tier"] == "hot"
        first = turn(worker, "ada", "and then", ignore_eos=True)
        second = turn(worker, "ada", " the stone", ignore_eos=True)
        metrics = second["metrics"]
        assert metrics["prompt_tokens"] - metrics["cached_tokens"] <= 8
        whole = {"job_id": "j", "prompt": f"{TALK}and then{first['text']} the stone"}
        tokens = call(worker.url, "/execute", whole | {"metrics": True, "max_tokens": 1}).events
        assert abs(tokens[-2]["prompt_tokens"] - metrics["prompt_tokens"]) <= 3


def test_a_fork_and_a_file_answer_as_the_agent_does(tmp_path: Path) -> None:
    """In another worker too, and not with another model."""
    ask: dict[str, Any] = {"prompt": " and then?", "ignore_eos": True, "reproducible": False}
    with WorkerProcess() as worker:
        worker.wait_ready()
        call(worker.url, "/v1/agents", {"name": "ada", "prompt": TALK})
        turn(worker, "ada", "well")
        data = call(worker.url, f"{ADA}/cache").raw
        assert call(worker.url, f"{ADA}/fork", {"name": "ben"}).status == 201
        expected = turn(worker, "ada", **ask)
        forked = turn(worker, "ben", **ask)
    assert forked["text"] == expected["text"]
    assert forked["metrics"]["cached_tokens"] >= expected["metrics"]["cached_tokens"]

    with WorkerProcess("--agents", str(tmp_path)) as worker:
        worker.wait_ready()
        assert call(worker.url, f"{ADA}/cache", data, method="PUT").status == 201
        brought = turn(worker, "ada", **ask)
        assert call(worker.url, "/health").json()["cache"]["failures"] == {}
        eventually(lambda: call(worker.url, ADA).json()["bytes"]["disk"] > 0)
        assert call(worker.url, ADA, method="DELETE").status == 200
        assert not list(tmp_path.rglob("*.kv"))
    assert brought["text"] == expected["text"]
    assert brought["metrics"]["restored_tokens"] == expected["metrics"]["cached_tokens"]

    with WorkerProcess(model="ref-qwen2") as worker:
        worker.wait_ready()
        answer = call(worker.url, f"{ADA}/cache", data, method="PUT")
        assert (answer.status, answer.json()["error"]["reason"]) == (400, "fingerprint")
