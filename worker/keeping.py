"""Where a worker keeps its agents' caches outside the context: RAM, and a folder if it may."""

from __future__ import annotations

import hashlib
import logging
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from pool_core.catalog.entry import shards
from worker.engine.cache.archive import Archive
from worker.engine.cache.disk import DiskStore
from worker.engine.cache.fingerprint import Fingerprint
from worker.engine.runner import ModelInfo
from worker.settings import WorkerSettings, default_ram_cache

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Keeping:
    """`disk_problem` says in a line why nothing is kept on disk although it was asked for.
    `fingerprint` is what saved states depend on: it waits for the model's digest, and raises
    OSError."""

    archive: Archive
    fingerprint: Callable[[], Fingerprint]
    disk_problem: str = ""


class ModelDigest:
    """The model's sha256, as it was given or read in a thread of its own from now on.

    Without a disk store nothing is read before somebody asks.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._digest: Future[str] = Future()
        self._path = settings.model_path
        self._lock = threading.Lock()
        self._is_begun = settings.model_sha256 is not None
        if settings.model_sha256 is not None:
            self._digest.set_result(settings.model_sha256)
        elif settings.agents is not None:
            self._begin()

    def result(self) -> str:
        """Waits until it is known. Raises OSError for a file that cannot be read."""
        self._begin()
        return self._digest.result()

    def _begin(self) -> None:
        with self._lock:
            if not self._is_begun:
                self._is_begun = True
                thread = threading.Thread(
                    target=self._read, args=(self._path,), name="digest", daemon=True
                )
                thread.start()

    def _read(self, path: Path) -> None:
        try:
            self._digest.set_result(hash_model(path))
        except OSError as error:
            self._digest.set_exception(error)


def hash_model(path: Path) -> str:
    """The file's sha256; of a split model, that of its shards' digests. Raises OSError."""
    digests = []
    for name in shards(path.name):
        with path.with_name(name).open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )


def open_keeping(settings: WorkerSettings, info: ModelInfo, digest: ModelDigest) -> Keeping:
    """What was kept for this model and these settings is there to be found. Never fails: a folder
    that is of no use is said once, and RAM remains."""
    ram_bytes = default_ram_cache() if settings.ram_cache is None else settings.ram_cache

    def fingerprint() -> Fingerprint:
        return _fingerprint(settings, info, digest.result())

    if settings.agents is None:
        return Keeping(Archive(ram_bytes=ram_bytes), fingerprint)
    try:
        _try_folder(settings.agents)
        disk = DiskStore(settings.agents, fingerprint(), settings.disk_cache)
    except OSError as error:
        reason = error.strerror or str(error)
        problem = f"{error.filename or settings.agents}: {reason}"
        log.warning("agents are kept in RAM only: %s", problem)
        return Keeping(Archive(ram_bytes=ram_bytes), fingerprint, problem)
    return Keeping(Archive(ram_bytes=ram_bytes, disk=disk), fingerprint)


def _fingerprint(settings: WorkerSettings, info: ModelInfo, sha256: str) -> Fingerprint:
    # An RPC device is named by its port, which is another one each time.
    device = "rpc" if settings.rpc else info.device
    return Fingerprint(
        model_sha256=sha256,
        llama_build=info.build,
        kv_type=settings.kv_type,
        settings={"backend": settings.backend, "device": device, **info.state_settings},
    )


def _try_folder(folder: Path) -> None:
    """Make it, for its owner only, and write into it. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"\0")
