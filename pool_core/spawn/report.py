"""What a starting worker tells whoever spawned it, and how it leaves when it cannot start.

The spawner passes `--report-fd FD` (a pipe) and `--state-file PATH`. On every change the worker
writes one JSON line to the pipe and replaces the file, which it alone owns, with the same record.
The pipe breaking is nothing to the worker: workers outlive the command that started them.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

from pool_core.files import write_atomic


class WorkerStatus(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


class WorkerExit(IntEnum):
    """Exit codes of `llorch-worker`, so that the reason survives without its log."""

    OK = 0
    FAILED = 1
    USAGE = 2
    BAD_MODEL = 10
    OUT_OF_MEMORY = 11
    BACKEND_MISSING = 12
    NOT_ON_DEVICE = 13
    PORT_TAKEN = 14
    CONTEXT_TOO_LARGE = 15
    SELF_TEST_FAILED = 16


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """A worker's own account of itself.

    `progress` is the share of the model that is loaded, 0 to 1. `layers_on_device`,
    `layers_total` and `bytes_on_device` are read from the loaded model, not from what was asked.
    """

    status: WorkerStatus
    pid: int
    progress: float = 0.0
    host: str = "127.0.0.1"
    port: int = 0
    reason: str = ""
    exit_code: int | None = None
    device: str = ""
    layers_on_device: int = 0
    layers_total: int = 0
    bytes_on_device: int = 0
    load_seconds: float = 0.0
    context_length: int = 0
    build: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}" if self.port else ""

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> WorkerReport:
        """Raises ValueError for anything that is not a report."""
        record = json.loads(text)
        if not isinstance(record, dict) or "status" not in record or "pid" not in record:
            raise ValueError("not a worker report")
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in record.items() if name in known}
        return cls(**values | {"status": WorkerStatus(record["status"])})


class Reporter:
    """The worker's side of the pipe and the state file. Used from one thread."""

    def __init__(self, report_fd: int | None = None, state_file: Path | None = None) -> None:
        self._fd = report_fd
        self._state_file = state_file

    def send(self, report: WorkerReport) -> None:
        """Tell both; neither a reader that went away nor a full disk stops the worker."""
        line = report.to_json()
        if self._state_file is not None:
            try:
                write_atomic(self._state_file, line + "\n", mode=0o600)
            except Exception:  # the report is a courtesy; serving goes on without it
                self._state_file = None
        if self._fd is not None:
            try:
                os.write(self._fd, line.encode() + b"\n")
            except OSError:
                self._fd = None
