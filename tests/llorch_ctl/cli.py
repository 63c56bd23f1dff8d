"""`llorch` as a person runs it: a process of its own, its output read as text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pool_core.home import Home


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """What --json wrote."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def data(self) -> dict[str, Any]:
        """The data of the last line."""
        found: dict[str, Any] = self.records[-1]["data"]
        return found


class Llorch:
    """`llorch` with a home of its own."""

    def __init__(self, home: Home) -> None:
        self._env = os.environ | {"LLORCH_HOME": str(home.data), "COLUMNS": "120"}

    def __call__(self, *argv: str, stdin: str = "") -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "llorch_ctl", *argv],
            env=self._env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def started(self, *argv: str) -> Iterator[subprocess.Popen[str]]:
        """A command that goes on; ended with the block."""
        process = subprocess.Popen(
            [sys.executable, "-m", "llorch_ctl", *argv],
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            with process:
                yield process
                process.kill()
        finally:
            process.kill()
            process.wait()


def lines_of(stream: Any, count: int) -> Sequence[str]:
    """The next lines, as they come."""
    return [stream.readline().rstrip("\n") for _ in range(count)]
