"""What all suites share. They run in their client's environment: only pytest is there for sure."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Server:
    """A worker that is running. `root` has no path, `key` is the only one that it accepts."""

    root: str
    key: str
    model: str

    @property
    def v1(self) -> str:
        return f"{self.root}/v1"


@pytest.fixture(scope="session")
def server() -> Server:
    """The worker that all suites use at once."""
    return Server(*(os.environ[f"CONFORMANCE_{name}"] for name in ("URL", "KEY", "MODEL")))


@pytest.fixture(scope="session")
def busy() -> Server:
    """One that answers one request at a time, lets one more wait, and sends the rest away."""
    return Server(*(os.environ[f"CONFORMANCE_{name}"] for name in ("BUSY_URL", "KEY", "MODEL")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    """One JSON line for each test, in the file that CONFORMANCE_RESULTS names."""
    report = yield
    file = os.environ.get("CONFORMANCE_RESULTS")
    if file and (report.when == "call" or (report.when == "setup" and not report.passed)):
        mark = item.get_closest_marker("feature")
        assert mark is not None, f"{item.name} has no feature"
        check = {"test": item.name, "feature": mark.args[0], "passed": report.passed}
        with Path(file).open("a") as lines:
            lines.write(json.dumps(check) + "\n")
    return report
