"""What all handlers share: how far this worker is, its model, and the jobs in flight."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pool_core.spawn.report import WorkerStatus
from worker.api.metrics import Metrics
from worker.api.transfers import Transfers
from worker.chat.format import ChatFormat
from worker.engine.async_engine import AsyncEngine
from worker.engine.cache.fingerprint import Fingerprint
from worker.engine.constraint import ConstraintCompiler
from worker.engine.runner import MemoryTraits, ModelInfo, Vocab
from worker.settings import WorkerSettings


def _no_fingerprint() -> Fingerprint:
    raise OSError("nobody knows what it depends on")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """Everything a request needs of the model. `loaded_at` is Unix seconds; `disk_problem` says why
    nothing is kept on disk although it was asked for. Without a `compiler` no answer can be made
    to have a form. `fingerprint` says what saved states depend on; it may take as long as reading
    the model's file, and raises OSError when that cannot be read."""

    id: str
    file_name: str
    engine: AsyncEngine
    vocab: Vocab
    info: ModelInfo
    chat: ChatFormat
    loaded_at: int
    memory: MemoryTraits = MemoryTraits()
    disk_problem: str = ""
    compiler: ConstraintCompiler | None = None
    fingerprint: Callable[[], Fingerprint] = _no_fingerprint

    def is_called(self, name: str) -> bool:
        return name in (self.id, self.file_name)


class Service:
    """The worker's state as the HTTP side sees it. Touched by the event loop only."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.status = WorkerStatus.STARTING
        self.progress = 0.0
        self.model: LoadedModel | None = None
        self.jobs = Jobs()
        self.metrics = Metrics()
        self.transfers = Transfers()

    def ready(self, model: LoadedModel) -> None:
        self.model = model
        self.progress = 1.0
        self.status = WorkerStatus.READY

    def drain(self) -> None:
        """From now on requests are refused; those in flight go on."""
        self.status = WorkerStatus.DRAINING


class Jobs:
    """Which engine requests a job id stands for; several may run under one id at a time."""

    def __init__(self) -> None:
        self._running: defaultdict[str, set[str]] = defaultdict(set)

    @contextmanager
    def running(self, job_id: str, request_id: str) -> Iterator[None]:
        self._running[job_id].add(request_id)
        try:
            yield
        finally:
            self._running[job_id].discard(request_id)
            if not self._running[job_id]:
                del self._running[job_id]

    def request_ids(self, job_id: str) -> list[str]:
        return sorted(self._running.get(job_id, ()))
