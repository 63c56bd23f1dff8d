"""promptfoo: one evaluation over three of its providers."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

feature = pytest.mark.feature
QUIET = {
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "PROMPTFOO_DISABLE_UPDATE": "1",
    "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather here",
        "parameters": {
            "type": "object",
            "properties": {"unit": {"enum": ["C", "F"]}},
            "required": ["unit"],
            "additionalProperties": False,
        },
    },
}


@feature("answers")
@pytest.mark.parametrize("kind", ["openai:chat", "openai:completion", "anthropic:messages"])
def test_facts(server: Any, tmp_path: Path, kind: str) -> None:
    tests = [
        {"vars": {"question": question}, "assert": [{"type": "contains", "value": answer}]}
        for question, answer in [
            ("What is the capital of France?", "Paris"),
            ("What is 17 + 25?", "42"),
        ]
    ]
    assert evaluate(server, tmp_path, kind, {}, tests) == (2, 0)


@feature("tools")
def test_a_call(server: Any, tmp_path: Path) -> None:
    tests = [{"vars": {"question": "Hello"}, "assert": [{"type": "is-valid-openai-tools-call"}]}]
    more = {
        "tools": [TOOL],
        "tool_choice": "required",
        "passthrough": {"parallel_tool_calls": False},
    }
    assert evaluate(server, tmp_path, "openai:chat", more, tests) == (1, 0)


@feature("schemas")
def test_a_schema(server: Any, tmp_path: Path) -> None:
    schema = TOOL["function"]["parameters"]
    form = {"type": "json_schema", "json_schema": {"name": "w", "strict": True, "schema": schema}}
    tests = [
        {
            "vars": {"question": "Hello"},
            "assert": [{"type": "is-json", "value": schema}],
        }
    ]
    found = evaluate(server, tmp_path, "openai:chat", {"response_format": form}, tests)
    assert found == (1, 0)


def evaluate(
    server: Any, folder: Path, kind: str, more: dict[str, Any], tests: list[Any]
) -> tuple[int, int]:
    """How many tests passed, and how many did not."""
    is_openai = kind.startswith("openai")
    provider = {
        "id": f"{kind}:{server.model}",
        "config": {
            "apiBaseUrl": server.v1 if is_openai else server.root,
            "apiKey": server.key,
            "temperature": 0,
            "max_tokens": 100,
        }
        | more,
    }
    config = {"prompts": ["{{question}}"], "providers": [provider], "tests": tests}
    (folder / "config.json").write_text(json.dumps(config))
    node = Path(os.environ["CONFORMANCE_NODE"])
    program = Path(os.environ["CONFORMANCE_FOLDER"]) / "node_modules/promptfoo/dist/src/main.js"
    done = subprocess.run(
        [node / "node", program, "eval", "--no-cache", "-c", "config.json"]
        + ["-o", "results.json", "--no-progress-bar"],
        cwd=folder,
        env={**os.environ, **QUIET, "PATH": f"{node}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
    )
    results = folder / "results.json"
    assert results.exists(), done.stdout + done.stderr
    stats = json.loads(results.read_text())["results"]["stats"]
    return stats["successes"], stats["failures"] + stats["errors"]
