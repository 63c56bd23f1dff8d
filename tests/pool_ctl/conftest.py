from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pool_core.console import Console
from pool_ctl.app import run
from pool_ctl.context import Session
from tests.fakes.pool import ROOT, FakePool


def schema(name: str) -> Draft202012Validator:
    """A validator of `.specs/schemas/<name>.schema.json`."""
    text = (ROOT / ".specs" / "schemas" / f"{name}.schema.json").read_text()
    return Draft202012Validator(json.loads(text))


EVENT = schema("event")


@dataclass(frozen=True)
class Answer:
    """What `--json` said: the exit code and the decoded lines."""

    code: int
    lines: list[dict[str, Any]]

    @property
    def data(self) -> dict[str, Any]:
        assert self.code == 0, self.lines
        data: dict[str, Any] = self.lines[-1]["data"]
        return data

    @property
    def error(self) -> dict[str, Any]:
        assert self.lines[-1]["t"] == "error", self.lines
        return self.lines[-1]


Ask = Callable[..., Answer]


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[FakePool]:
    with FakePool(tmp_path / "home") as pool:
        pool.use_as_runtime()
        yield pool


@pytest.fixture
def ask(pool: FakePool) -> Ask:
    """Run a command with --json in this process."""

    def ask(*argv: str, secrets: dict[str, str] | None = None) -> Answer:
        out = io.StringIO()
        session = Session(pool.home, Console(json_lines=True, out=out), secrets or {})
        code = run([*argv, "--json"], session)
        lines = [json.loads(line) for line in out.getvalue().splitlines()]
        for line in lines:
            EVENT.validate(line)
        return Answer(code, lines)

    return ask


@pytest.fixture
def start(pool: FakePool) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `llorch-pool` as a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*argv: str, **settings: Any) -> subprocess.Popen[str]:
        env = {"LLORCH_HOME": str(pool.home.data), "PATH": os.environ["PATH"], "COLUMNS": "100"}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pool_ctl", *argv],
            env=env | settings.pop("env", {}),
            stdin=settings.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **settings,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
