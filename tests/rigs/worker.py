"""A real `llorch-worker` process on a reference model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from pool_core.spawn.report import WorkerReport, WorkerStatus

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "catalogs" / "reference"
LAST = (WorkerStatus.FAILED, WorkerStatus.STOPPED)


class WorkerProcess:
    """A context manager around the process; leaving it stops the process and waits for it.

    `reports` grows as they are read from the pipe. `program` replaces `-m worker`.
    """

    def __init__(
        self,
        *options: str,
        model: str | Path = "ref-llama",
        env: Mapping[str, str] | None = None,
        program: tuple[str, ...] = ("-m", "worker"),
    ) -> None:
        path = model if isinstance(model, Path) else MODELS / f"{model}.gguf"
        read_end, write_end = os.pipe()
        self._pipe = os.fdopen(read_end, encoding="utf-8")
        self._log: IO[bytes] = tempfile.TemporaryFile()
        self.reports: list[WorkerReport] = []
        self.process = subprocess.Popen(
            # One thread: ggml's threads spin, and tests run side by side.
            [sys.executable, *program, "--model", str(path), "--threads", "1", *options]
            + ["--report-fd", str(write_end)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            pass_fds=(write_end,),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        os.close(write_end)

    def next_report(self) -> WorkerReport | None:
        """The next one, waiting for it; None when the pipe is closed."""
        line = self._pipe.readline()
        if not line:
            return None
        self.reports.append(WorkerReport.from_json(line))
        return self.reports[-1]

    def wait_for(self, status: WorkerStatus) -> WorkerReport:
        while (report := self.next_report()) is not None:
            if report.status is status:
                return report
        raise AssertionError(f"no {status} report; exit {self.process.wait(60)}: {self.log}")

    def wait_ready(self) -> Self:
        self.wait_for(WorkerStatus.READY)
        return self

    def wait_exit(self) -> int:
        while self.next_report() is not None:
            pass
        return self.process.wait(60)

    def close_pipe(self) -> None:
        """As if whoever spawned it had gone."""
        self._pipe.close()

    @property
    def url(self) -> str:
        return self.reports[-1].url

    @property
    def log(self) -> str:
        """What it has written to stdout and stderr so far."""
        return os.pread(self._log.fileno(), 1 << 20, 0).decode()

    @property
    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines()]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._pipe.close()
        self._log.close()


def running_worker(*options: str, **kwargs: Any) -> Iterator[WorkerProcess]:
    """For fixtures: a worker that is ready."""
    with WorkerProcess(*options, **kwargs) as worker:
        yield worker.wait_ready()
