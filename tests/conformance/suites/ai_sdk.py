"""Vercel's AI SDK, over each of its providers; the work is done in `ai_sdk.mjs`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

feature = pytest.mark.feature
PROVIDERS = ["compatible", "openai-chat", "openai-responses", "anthropic"]
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def run(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Does one thing with one provider, and gives what came of it."""
    installed = Path(os.environ["CONFORMANCE_FOLDER"])
    folder = tmp_path_factory.mktemp("ai")  # packages are looked for beside the script
    (folder / "node_modules").symlink_to(installed / "node_modules")
    script = shutil.copy(Path(__file__).with_suffix(".mjs"), folder)
    node = Path(os.environ["CONFORMANCE_NODE"]) / "node"

    def run(provider: str, what: str, **more: str) -> dict[str, Any]:
        names = {"ROOT": server.root, "KEY": server.key, "MODEL": server.model} | more
        done = subprocess.run(
            [node, "--preserve-symlinks", script, provider, what],
            env={**os.environ, **names},
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    return run


@feature("answers")
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_text(run: Run, provider: str) -> None:
    found = run(provider, "text")
    assert found["text"] == "Paris." and found["finishReason"] == "stop"
    assert found["usage"]["inputTokens"] > 5


@feature("streams")
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_stream(run: Run, provider: str) -> None:
    found = run(provider, "stream")
    assert found["text"] == "Paris." and found["errors"] == []


@feature("tools")
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_call(run: Run, provider: str) -> None:
    found = run(provider, "tools")
    assert found["calls"] and found["calls"][0]["input"]["unit"] in ("C", "F")
    assert found["streamed"][0]["input"]["unit"] in ("C", "F")


@feature("schemas")
@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_object(run: Run, provider: str) -> None:
    assert set(run(provider, "object")["object"]) == {"name", "size"}


@feature("errors")
@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_error(run: Run, provider: str) -> None:
    found = run(provider, "error", MODEL="no-such-model")
    assert found["status"] == 404 and "no-such-model" in found["message"]
