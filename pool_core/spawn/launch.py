"""One worker on its way up: its companions, its process, and the wait until it is ready."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pool_core.events import Event, Progress, State
from pool_core.settings import SpawnLimits
from pool_core.spawn.command import WorkerCommand
from pool_core.spawn.errors import SpawnError
from pool_core.spawn.identity import ProcessId
from pool_core.spawn.logs import message_of, tail
from pool_core.spawn.pipe import ReportPipe
from pool_core.spawn.process import end, start_detached
from pool_core.spawn.record import Companion, WorkerFile
from pool_core.spawn.report import WorkerReport, WorkerStatus

_EXIT_WAIT_S = 5.0
_ABANDON_GRACE_S = 2.0
_LOG_LINES = 20
_HINTS: dict[int, str] = {
    signal.SIGKILL: " (out of memory?)",
    signal.SIGILL: " (llama.cpp was built for another CPU; llorch-pool backend install --force)",
}


@dataclass(frozen=True, slots=True)
class _Child:
    """A process that was started and has not said yet that it is ready."""

    what: str
    process: subprocess.Popen[bytes]
    identity: ProcessId
    pipe: ReportPipe
    log: Path


class Launch:
    """A context manager that ends everything it started unless `keep` was called.

    The lease is a pipe whose write end only the worker holds. Its companions hold the read end
    and leave when it closes: whatever ends a worker, kill -9 included, ends them.
    """

    def __init__(self, command: WorkerCommand, log: Path, limits: SpawnLimits) -> None:
        self._command = command
        self._log = log
        self._limits = limits
        self._companions: list[Companion] = []
        self._children: list[_Child] = []
        self._lease_read, self._lease_write = os.pipe()
        self._kept = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._lease_read)
        os.close(self._lease_write)
        with ExitStack() as stack:  # each is ended, whatever ending another one raises
            for child in self._children:
                stack.callback(child.pipe.close)
                if not self._kept:
                    stack.callback(end, child.identity, grace_s=_ABANDON_GRACE_S)

    def keep(self) -> None:
        """The worker is up: from now on it outlives us."""
        self._kept = True

    def start_companions(self) -> Generator[Event, None, None]:
        """Start what the worker needs beside it. Raises SpawnError."""
        spec = self._command.spec
        if spec.backend != "rpc" or spec.rpc:
            return
        yield State(self._command.worker, "starting", "its RPC server first")
        log = self._log.with_name(f"{self._log.stem}-rpc-server.log")
        server = self._start("RPC server", self._command.rpc_server_argv, self._lease_read, log)
        report = yield from self._until_ready(server)
        self._companions.append(Companion("rpc-server", server.identity, report.port))

    def start_worker(self) -> WorkerFile:
        """Start the worker itself, and return its record. `wait` is next."""
        spec = self._command.spec
        endpoints = [*spec.rpc, *(f"127.0.0.1:{one.port}" for one in self._companions)]

        def argv(report_fd: int, lease_fd: int) -> list[str]:
            return self._command.worker_argv(report_fd, endpoints)

        worker = self._start(spec.model, argv, self._lease_write, self._log)
        return WorkerFile(
            id=self._command.worker,
            spec=spec,
            process=worker.identity,
            companions=tuple(self._companions),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            log=self._log,
            token=self._command.token,
        )

    def wait(self) -> Generator[Event, None, WorkerReport]:
        """Progress until the worker is ready. Raises SpawnError when it dies or hangs."""
        return (yield from self._until_ready(self._children[-1]))

    def _start(
        self, what: str, argv: Callable[[int, int], list[str]], lease_fd: int, log: Path
    ) -> _Child:
        pipe = ReportPipe()
        try:
            process = start_detached(
                argv(pipe.write_fd, lease_fd),
                env=self._command.environment(os.environ),
                log=log,
                pass_fds=(pipe.write_fd, lease_fd),
            )
        except BaseException:
            pipe.close()
            raise
        identity = ProcessId.of(process.pid) or ProcessId(process.pid, "")
        child = _Child(what, process, identity, pipe, log)
        self._children.append(child)
        pipe.child_started()
        return child

    def _until_ready(self, child: _Child) -> Generator[Event, None, WorkerReport]:
        started = changed = time.monotonic()
        last: WorkerReport | None = None
        while True:
            give_up = min(started + self._limits.timeout_s, changed + self._limits.stall_s)
            try:
                report = child.pipe.read(give_up - time.monotonic())
            except EOFError:
                raise self._died(child, last) from None
            if report is None:
                raise self._hung(child, started, changed)
            if report.status is WorkerStatus.READY:
                return report
            if report.status is WorkerStatus.FAILED:
                raise self._died(child, report)
            if last is None or report.progress != last.progress:
                changed = time.monotonic()
                yield Progress(f"loading {child.what}", 100 * report.progress, 100, "%")
            last = report

    def _died(self, child: _Child, report: WorkerReport | None) -> SpawnError:
        """Why a process that is gone, or about to go, did not become ready."""
        try:
            code = child.process.wait(_EXIT_WAIT_S)
        except subprocess.TimeoutExpired:
            code = None
        details: dict[str, Any] = {
            "worker": self._command.worker,
            "log": str(child.log),
            "exit_code": code,
        }
        if report is not None and report.reason:
            return SpawnError(report.reason, **details)
        message = f"{child.what} did not start: {_ending(code)}"
        match _last_words(tail(child.log, _LOG_LINES)):
            case []:
                pass
            case [line]:
                message += f": {line}"
            case lines:
                message += "; its last words:" + "".join(f"\n  {line}" for line in lines) + "\n"
        return SpawnError(message, f"whole log: {child.log}", **details)

    def _hung(self, child: _Child, started: float, changed: float) -> SpawnError:
        now = time.monotonic()
        silent = now - changed >= self._limits.stall_s
        why = f"no progress for {now - changed:.0f} s"
        if not silent:
            why = f"not ready after {now - started:.0f} s"
        return SpawnError(
            f"{child.what} did not start and was stopped: {why}",
            f"see {child.log}; limits are in config.toml under [spawn]",
            worker=self._command.worker,
            log=str(child.log),
        )


def _last_words(lines: list[str]) -> list[str]:
    """The end of a log for a person: of a traceback only what it comes to."""
    if any(line.startswith("Traceback (") for line in lines):
        return lines[-1:]
    return [message_of(line) for line in lines]


def _ending(code: int | None) -> str:
    """What an exit status says, for a person."""
    if code is None:
        return "it gave up its report pipe and was stopped"
    if code >= 0:
        return f"it exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"it was killed by {name}{_HINTS.get(-code, '')}"
