"""lm-eval over `/v1/completions` and `/v1/chat/completions`, with tasks from local files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

feature = pytest.mark.feature
CAPITALS = [
    {"question": "What is the capital of France?", "answer": "Paris.", "wrong": "Rome."},
    {"question": "What is the capital of Italy?", "answer": "Rome.", "wrong": "Paris."},
]
COMMON = {
    "dataset_path": "json",
    "test_split": "test",
    "doc_to_text": "{{question}}",
    "metadata": {"version": 1},
}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in CAPITALS))
    data = {"dataset_kwargs": {"data_files": {"test": str(rows)}}}
    choose = (
        COMMON
        | data
        | {
            "task": "choose",
            "output_type": "multiple_choice",
            "doc_to_choice": "{{[answer, wrong]}}",
            "doc_to_target": 0,
            "target_delimiter": "\n",
            "metric_list": [{"metric": "acc"}],
        }
    )
    write = (
        COMMON
        | data
        | {
            "task": "write",
            "output_type": "generate_until",
            "doc_to_target": "{{answer}}",
            "generation_kwargs": {"until": ["\n\n"], "max_gen_toks": 12, "temperature": 0},
            "metric_list": [{"metric": "exact_match"}],
            "filter_list": [{"name": "strip", "filter": [{"function": "remove_whitespace"}]}],
        }
    )
    for task in (choose, write):  # JSON is YAML
        (tmp_path / f"{task['task']}.yaml").write_text(json.dumps(task))
    return tmp_path


@feature("answers")
@pytest.mark.parametrize(
    ("task", "metric"), [("choose", "acc,none"), ("write", "exact_match,strip")]
)
def test_completions(server: Any, tasks: Path, task: str, metric: str) -> None:
    url = f"base_url={server.v1}/completions"
    remote = f"tokenizer_backend=remote,auth_token={server.key}"
    args = f"{url},model={server.model},{remote},num_concurrent=2"
    assert evaluate(server, tasks, task, "local-completions", args)[metric] == 1.0


@feature("answers")
def test_chat(server: Any, tasks: Path) -> None:
    args = f"base_url={server.v1}/chat/completions,model={server.model}"
    found = evaluate(
        server, tasks, "write", "local-chat-completions", args, "--apply_chat_template"
    )
    assert found["exact_match,strip"] == 1.0


def evaluate(
    server: Any, tasks: Path, task: str, model: str, args: str, *more: str
) -> dict[str, float]:
    """The task's metrics."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lm_eval"), "run", "--model", model]
        + ["--model_args", args, "--tasks", task, "--include_path", str(tasks)]
        + ["--output_path", str(tasks / "out"), *more],
        env={**os.environ, "OPENAI_API_KEY": server.key, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    [file] = (tasks / "out").rglob("results_*.json")
    return dict(json.loads(file.read_text())["results"][task])
