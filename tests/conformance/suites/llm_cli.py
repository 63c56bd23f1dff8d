"""Simon Willison's `llm`, as a person types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

feature = pytest.mark.feature


@dataclass
class Program:
    """`llm` with a folder of its own, in which the worker is the model `worker`."""

    folder: Path

    def run(self, *args: str, stdin: str = "") -> str:
        done = self.start(*args, stdin=stdin)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def start(self, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("llm"), *args],
            env={**os.environ, "LLM_USER_PATH": str(self.folder)},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=100,
        )


@pytest.fixture
def llm(server: Any, tmp_path: Path) -> Program:
    common = {"model_name": server.model, "api_base": server.v1, "api_key_name": "worker"}
    models = [
        {"model_id": "worker", "supports_tools": True, "supports_schema": True} | common,
        {"model_id": "plain", "completion": True} | common,
        {"model_id": "unknown"} | common | {"model_name": "no-such-model"},
    ]
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps(models))  # JSON is YAML
    (tmp_path / "keys.json").write_text(json.dumps({"worker": server.key}))
    return Program(tmp_path)


@feature("streams")
def test_an_answer_and_its_usage(llm: Program) -> None:
    asked = ("-m", "worker", "-o", "temperature", "0", "-o", "seed", "5", "--usage")
    done = llm.start(*asked, "What is the capital of France?")
    assert done.stdout.strip() == "Paris." and "Token usage" in done.stderr


@feature("answers")
def test_an_answer_at_once(llm: Program) -> None:
    answer = llm.run("-m", "worker", "--no-stream", "-o", "temperature", "0", "What is 17 + 25?")
    assert answer == "42"


@feature("answers")
def test_a_conversation_goes_on(llm: Program) -> None:
    llm.run("-m", "worker", "-o", "temperature", "0", "-s", "Be brief.", "Hello")
    assert llm.run("-c", "-o", "temperature", "0", "What is 2 + 2?") == "4"
    logged = json.loads(llm.run("logs", "list", "--json"))
    assert len(logged) == 2 and len({turn["conversation_id"] for turn in logged}) == 1


@feature("answers")
def test_plain_completions(llm: Program) -> None:
    asked = ("-m", "plain", "-o", "temperature", "0", "-o", "max_tokens", "8")
    assert "Paris." in llm.run(*asked, "What is the capital of France?\n")


@feature("schemas")
def test_a_schema(llm: Program) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"enum": ["Paris", "Rome"]}, "size": {"enum": [3, 4]}},
        "required": ["name", "size"],
    }
    answer = llm.run("-m", "worker", "--schema", json.dumps(schema), "Give JSON for a city")
    assert set(json.loads(answer)) == {"name", "size"}


@feature("tools")
def test_tools_may_be_offered(llm: Program) -> None:
    """It has no way to demand a call; what must work is to offer tools, streaming and not."""
    function = 'def weather(city: str) -> str:\n    "The weather of a city"\n    return "sunny"\n'
    for more in ([], ["--no-stream"]):
        llm.run("-m", "worker", "-o", "temperature", "0", "--functions", function, *more, "Hello")


@feature("errors")
def test_errors_are_shown(llm: Program) -> None:
    done = llm.start("-m", "unknown", "Hello")
    assert done.returncode == 1 and "no-such-model" in done.stderr
    wrong = llm.start("-m", "worker", "--key", "wrong", "Hello")
    assert wrong.returncode == 1 and "Error" in wrong.stderr
