"""What the download tests share: a model, settings without patience, and a child process."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pool_core.catalog import CatalogStore, ModelEntry, make_registration
from pool_core.download import DownloadSettings, download
from pool_core.events import Event
from pool_core.home import Home
from tests.rigs.gguf import make_model
from tests.rigs.hub import Hub

REPO = "acme/demo-GGUF"
CONTENT = make_model(random.Random(7).randbytes(3_000_000))
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HASTY = DownloadSettings(
    connect_timeout_s=2.0,
    read_timeout_s=0.3,
    backoff_s=0.005,
    longest_backoff_s=0.02,
    patience_s=20.0,
)


def demo(**changes: Any) -> ModelEntry:
    return make_registration({"id": "demo", "repo": REPO, "file": "demo.gguf"} | changes)


def registered(home: Home, **changes: Any) -> ModelEntry:
    return CatalogStore(home).register(demo(**changes))


class Run:
    """One download, its events kept whatever becomes of it."""

    def __init__(self, home: Home, hub: Hub, entry: ModelEntry | None = None, **options: Any):
        self.events: list[Event] = []
        entry = entry or registered(home)
        options = {"settings": HASTY, "endpoint": hub.url} | options
        self._work = download(entry, home, **options)

    def finish(self) -> dict[str, Any]:
        while True:
            try:
                self.events.append(next(self._work))
            except StopIteration as stop:
                result: dict[str, Any] = stop.value
                return result

    def of_type(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def leftovers(home: Home) -> list[str]:
    """Names of everything unfinished."""
    return sorted(path.name for path in home.models.rglob("*.part*"))


class Child:
    """`tests.pool_core.download.child` in its own process, its events as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def events(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield json.loads(line)

    def wait_for_bytes(self, count: int) -> None:
        for event in self.events():
            if event["t"] == "progress" and event["done"] >= count:
                return
        raise AssertionError("it ended before that")


@contextmanager
def child(home: Home, hub: Hub) -> Iterator[Child]:
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.pool_core.download.child"],
        cwd=root,
        env={"LLORCH_HOME": str(home.data), "HF_ENDPOINT": hub.url, "HF_HOME": str(home.data)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Child(process)
    finally:
        process.kill()
        process.communicate()
