"""The workers of this machine: start them, tell the truth about them, stop them."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from pool_core.backends.runtime import resolve_runtime
from pool_core.errors import UsageError
from pool_core.events import Event, Log, State
from pool_core.home import Home
from pool_core.settings import Settings
from pool_core.spawn import observe
from pool_core.spawn.command import WorkerCommand
from pool_core.spawn.errors import StopUnverified
from pool_core.spawn.launch import Launch
from pool_core.spawn.logs import follow, tail
from pool_core.spawn.process import end, send_signal, wait_gone
from pool_core.spawn.record import WorkerRecord, WorkerSpec
from pool_core.spawn.registry import WorkerRegistry
from pool_core.spawn.report import WorkerStatus
from pool_core.spawn.verify import port_is_free

_COMPANION_GRACE_S = 3.0
_KILL_S = 5.0


class Spawner:
    """Outcome-shaped: `spawn` returns when a worker is ready, `stop` when nothing of it is left.

    It keeps no state of its own but the files in the home, so any number of processes may use
    one home at once. The operations are generators of events; closing one cancels it.
    `program_of` says how to run a worker for a backend.
    """

    def __init__(
        self,
        home: Home,
        settings: Settings | None = None,
        program_of: Callable[[str], Sequence[str]] | None = None,
    ) -> None:
        self.registry = WorkerRegistry(home)
        self._settings = settings or Settings()
        self._program_of = program_of or (
            lambda backend: resolve_runtime(home, backend).worker_program
        )

    def spawn(self, spec: WorkerSpec) -> Generator[Event, None, WorkerRecord]:
        """Start a worker and wait until it is ready.

        Raises UnknownName and BackendMissing, HeaderError, DoesNotFit, and SpawnError when it
        dies or hangs. However this ends without a ready worker, nothing of it is left running
        and only its log remains.
        """
        from pool_core.spawn.preflight import prepare  # reads model files; looking needs none

        program = self._program_of(spec.backend)
        spec = prepare(spec, self._settings.worker)
        worker, log = self.registry.claim(spec.model, spec.backend)
        self.registry.prune_logs(self._settings.logs.keep)
        token = secrets.token_urlsafe(32) if spec.with_token else None
        command = WorkerCommand(program, spec, worker, self.registry.state_file(worker), token)
        try:
            with Launch(command, log, self._settings.spawn) as launch:
                yield from launch.start_companions()
                yield State(worker, "starting")
                file = launch.start_worker()
                self.registry.save(file)
                report = yield from launch.wait()
                launch.keep()
        except BaseException:
            self.registry.remove(worker)
            raise
        yield State(worker, "ready", report.url)
        return observe.look(self.registry, file)

    def list(self) -> list[WorkerRecord]:
        """Every worker with a record, checked against the processes that run."""
        return [observe.look(self.registry, file) for file in self.registry.load_all()]

    def get(self, worker: str) -> WorkerRecord:
        """Raises UnknownName with the nearest ids."""
        return observe.look(self.registry, self.registry.load(worker))

    def stop(
        self, worker: str, grace_s: float | None = None
    ) -> Generator[Event, None, dict[str, Any]]:
        """End a worker and its companions, and forget it.

        It gets `grace_s` to finish its requests, then it is killed. Succeeds only when its
        processes are gone and its port is free; raises UnknownName and StopUnverified.
        """
        record = self.get(worker)
        grace_s = self._settings.spawn.stop_grace_s if grace_s is None else grace_s
        send_signal(record.file.process, signal.SIGTERM)
        return (yield from self._finish_stop(record, time.monotonic(), grace_s))

    def stop_all(self, grace_s: float | None = None) -> Generator[Event, None, dict[str, Any]]:
        """End every worker, all of them at once. Raises StopUnverified naming those that stay."""
        records = self.list()
        grace_s = self._settings.spawn.stop_grace_s if grace_s is None else grace_s
        started = time.monotonic()
        for record in records:
            send_signal(record.file.process, signal.SIGTERM)
        stopped, failed = [], []
        for record in records:
            try:
                stopped.append((yield from self._finish_stop(record, started, grace_s)))
            except StopUnverified as error:
                failed.append(error)
        if failed:
            message = "; ".join(error.message for error in failed)
            raise StopUnverified(message, failed[0].remedy, stopped=stopped)
        return {"workers": stopped}

    def refuse_if_serving(self, model: str) -> None:
        """Raises UsageError while a worker serves `model`."""
        for record in self.list():
            if record.file.spec.model == model and record.is_alive:
                raise UsageError(
                    f"{model} is being served by {record.id}",
                    f"stop it first: llorch-pool worker stop {record.id}",
                )

    def log_path(self, worker: str) -> Path:
        """Where a worker's output goes; kept when the worker is gone. Raises UnknownName."""
        log = self.registry.log_path(worker)
        return log if log.is_file() and "/" not in worker else self.registry.load(worker).log

    def log_tail(self, worker: str, lines: int) -> Sequence[str]:
        """The last lines of a worker's log. Raises UnknownName."""
        return tail(self.log_path(worker), lines)

    def follow_log(self, worker: str, lines: int = 10) -> Generator[Event, None, None]:
        """The last `lines` lines of a worker's log, then each new one until the worker ends."""
        log = self.log_path(worker)

        def is_alive() -> bool:
            return worker in self.registry.ids() and self.get(worker).is_alive

        for line in follow(log, lines, is_alive):
            yield Log(line, source=worker)

    def _finish_stop(
        self, record: WorkerRecord, started: float, grace_s: float
    ) -> Generator[Event, None, dict[str, Any]]:
        """Wait for a worker that was told to stop, kill it if it must be, and verify."""
        worker, process = record.id, record.file.process
        forced = False
        if process.is_alive():
            yield State(worker, "draining")
            if not wait_gone(process, max(0.0, started + grace_s - time.monotonic())):
                yield State(worker, "killed", f"still running after {grace_s:g} s")
                forced = True
                send_signal(process, signal.SIGKILL)
                wait_gone(process, _KILL_S)
        for companion in record.file.companions:
            if not wait_gone(companion.process, _COMPANION_GRACE_S):
                end(companion.process, grace_s=1.0)
        self._verify(record)
        self.registry.remove(worker)
        yield State(worker, "stopped")
        return {
            "id": worker,
            "was": record.status.value,
            "forced": forced,
            "seconds": round(time.monotonic() - started, 3),
        }

    def _verify(self, record: WorkerRecord) -> None:
        """Raises StopUnverified while anything of the worker is left."""
        processes = [record.file.process, *(one.process for one in record.file.companions)]
        left = [process for process in processes if process.is_alive()]
        if left:
            pids = " ".join(str(process.pid) for process in left)
            raise StopUnverified(
                f"{record.id} still runs as process {pids}, even after SIGKILL",
                f"it hangs in the kernel; look at it: ps -o pid,stat,wchan,cmd -p {pids}",
                worker=record.id,
                pids=[process.pid for process in left],
            )
        was_listening = record.status is not WorkerStatus.FAILED
        if was_listening and not port_is_free(record.report.host, record.report.port):
            raise StopUnverified(
                f"{record.id} is gone, but port {record.report.port} is still in use",
                "another process has taken it, or run the stop again",
                worker=record.id,
                port=record.report.port,
            )
