"""Claude Code without its terminal: conversations of `claude --bare -p`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.rigs.worker import WorkerProcess

feature = pytest.mark.feature
KEY = "sk-claude"
TURNS = (
    ("What is the capital of France?", "Paris."),
    ("What is 17 + 25?", "42"),
    ("Say river stone 7", "river stone 7"),
    ("What is the capital of Italy?", "Rome."),
    ("What is 4 + 4?", "8"),
)
_PACKAGE = "node_modules/@anthropic-ai"


def program() -> str:
    """The native one: npm does not run the script that would link it."""
    folder = Path(os.environ["CONFORMANCE_FOLDER"]) / _PACKAGE
    system = {"linux": "linux", "darwin": "darwin"}[sys.platform]
    machine = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}[os.uname().machine]
    return str(folder / f"claude-code-{system}-{machine}" / "claude")


@dataclass
class Claude:
    """Runs the program with a home of its own; `worker` answers it."""

    worker: WorkerProcess
    home: Path

    def run(self, *args: str, key: str = KEY, stdin: str = "") -> dict[str, Any]:
        """The `result` that it prints. Fails when it shows an error."""
        done = self.start(*args, key=key, stdin=stdin)
        assert done.returncode == 0, done.stdout + done.stderr
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        assert result["is_error"] is False, result
        return result

    def start(self, *args: str, key: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program(), *args],
            cwd=self.home,
            env=self.env(key),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=100,
        )

    def env(self, key: str) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "ANTHROPIC_BASE_URL": self.worker.url,
            "ANTHROPIC_API_KEY": key,
            "ANTHROPIC_MODEL": "ref-qwen2",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "128",
            "CLAUDE_CODE_MAX_CONTEXT_TOKENS": "32768",
            "CLAUDE_CODE_MAX_RETRIES": "0",
            "CLAUDE_CODE_EXTRA_BODY": '{"temperature": 0}',
        }

    def prompt_tokens(self) -> tuple[int, int]:
        """All that were sent so far, and how many of these were computed."""
        with urllib.request.urlopen(f"{self.worker.url}/health") as reply:
            cache = json.load(reply)["cache"]
        sent = cache["prompt_tokens_total"]
        return sent, sent - cache["cached_tokens_total"]


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    options = ("--ctx", "32768", "--slots", "4")
    with WorkerProcess(*options, model="ref-qwen2", env={"LLORCH_WORKER_TOKEN": KEY}) as worker:
        yield worker.wait_ready()


@pytest.fixture
def claude(worker: WorkerProcess, tmp_path: Path) -> Claude:
    return Claude(worker, tmp_path)


@feature("answers")
def test_a_conversation_without_tools(claude: Claude) -> None:
    """Short enough for a model this small to answer well."""
    plain = ["--tools", "", "--system-prompt", "Be brief.", "--output-format", "json"]
    session = ["--session-id", str(uuid.uuid4())]
    for question, answer in TURNS:
        result = claude.run("--bare", "-p", question, *plain, *session)
        assert result["result"] == answer
        session = ["--resume", result["session_id"]]


@feature("caching")
def test_five_turns_compute_next_to_nothing_again(claude: Claude) -> None:
    """With its tools. Whatever the model says to that, the turn must end without an error."""
    session = ["--session-id", str(uuid.uuid4())]
    sent, computed = [], []
    for question, _ in TURNS:
        before = claude.prompt_tokens()
        result = claude.run("--bare", "-p", question, "--output-format", "json", *session)
        after = claude.prompt_tokens()
        sent.append(after[0] - before[0])
        computed.append(after[1] - before[1])
        session = ["--resume", result["session_id"]]
    assert sent == sorted(sent) and sent[0] > 500
    assert sum(computed[1:]) < 0.05 * sum(sent[1:]), (sent, computed)


@feature("caching")
def test_another_conversation_begins_in_the_cache(claude: Claude) -> None:
    """Both have the same system prompt and tools, whatever line comes first in them."""
    claude.run("--bare", "-p", "Hello", "--output-format", "json")
    before = claude.prompt_tokens()
    claude.run("--bare", "-p", "What is 2 + 2?", "--output-format", "json")
    after = claude.prompt_tokens()
    assert after[1] - before[1] < 0.2 * (after[0] - before[0])


@feature("streams")
def test_turns_that_are_typed_into_one_process(claude: Claude) -> None:
    formats = ("--input-format", "stream-json", "--output-format", "stream-json", "--verbose")
    plain = ("--tools", "", "--system-prompt", "Be brief.")
    with subprocess.Popen(
        [program(), "--bare", "-p", *formats, *plain],
        cwd=claude.home,
        env=claude.env(KEY),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin and process.stdout
        for question, answer in TURNS[:3]:
            message = {"type": "user", "message": {"role": "user", "content": question}}
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
            lines = (json.loads(line) for line in process.stdout)
            result = next(line for line in lines if line["type"] == "result")
            assert (result["is_error"], result["result"]) == (False, answer)
        process.stdin.close()
    assert process.returncode == 0


@feature("errors")
def test_a_wrong_key_is_said_so(claude: Claude) -> None:
    done = claude.start("--bare", "-p", "Hello", key="wrong")
    assert done.returncode == 1 and "Invalid API key" in done.stdout


@feature("errors")
def test_a_prompt_beyond_the_context_is_said_so(claude: Claude) -> None:
    done = claude.start("--bare", "-p", key=KEY, stdin="river stone " * 20_000)
    assert done.returncode == 1 and "too long" in (done.stdout + done.stderr).lower()
