"""The workers of a pool, as files: one record each, and beside it the worker's own state."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pool_core.errors import UnknownName
from pool_core.files import clear_os_errors, write_atomic
from pool_core.home import Home, private_dir
from pool_core.spawn.errors import DamagedRecord
from pool_core.spawn.record import WorkerFile
from pool_core.spawn.report import WorkerReport

_STATE_SUFFIX = ".state.json"
_SETTLED_S = 3600
_LISTING = "llorch-pool worker list"


@dataclass(frozen=True, slots=True)
class WorkerRegistry:
    """Reads and writes `workers/`. A record is written by the spawner that started the worker and
    removed by whoever stopped it; the state file belongs to the worker."""

    home: Home

    def ids(self) -> list[str]:
        """Every worker that has a record, oldest first."""
        try:
            entries = [
                (entry.stat().st_mtime, entry.name.removesuffix(".json"))
                for entry in os.scandir(self.home.workers)
                if self._is_record(entry.name)
            ]
        except FileNotFoundError:
            return []
        return [name for _, name in sorted(entries)]

    def load(self, worker: str) -> WorkerFile:
        """Raises UnknownName and DamagedRecord."""
        known = self.ids()
        path = self._record(worker)
        try:
            if worker not in known:  # also keeps a name such as ../x from being a path
                raise FileNotFoundError
            return WorkerFile.from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UnknownName("worker", worker, known, _LISTING) from None
        except ValueError as error:
            raise DamagedRecord(
                f"{path} is damaged: {error}", "end its worker by hand and remove the file"
            ) from None

    def load_all(self) -> Iterator[WorkerFile]:
        """Every readable record. `doctor` tells of damaged ones."""
        for worker in self.ids():
            try:
                yield self.load(worker)
            except (UnknownName, DamagedRecord):  # unknown: removed since it was listed
                continue

    def save(self, file: WorkerFile) -> None:
        write_atomic(self._record(file.id), file.to_json(), mode=0o600)

    def remove(self, worker: str) -> None:
        """Forget a worker. Its log stays."""
        self._record(worker).unlink(missing_ok=True)
        self.state_file(worker).unlink(missing_ok=True)

    def state_file(self, worker: str) -> Path:
        return self.home.workers / f"{worker}{_STATE_SUFFIX}"

    def report(self, worker: str) -> WorkerReport | None:
        """What the worker last said of itself; None before its first word."""
        try:
            return WorkerReport.from_json(self.state_file(worker).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError):
            return None

    def claim(self, model: str, backend: str) -> tuple[str, Path]:
        """A new id and its empty log. Creating the log claims the id: two spawns never share."""
        private_dir(self.home.workers)
        private_dir(self.home.logs)
        while True:
            worker = f"{model}-{backend}-{secrets.token_hex(2)}"
            log = self.log_path(worker)
            with clear_os_errors(log):
                try:
                    os.close(os.open(log, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
                except FileExistsError:
                    continue
            return worker, log

    def log_path(self, worker: str) -> Path:
        return self.home.logs / f"{worker}.log"

    def prune_logs(self, keep: int) -> None:
        """Of the logs that belong to no worker any more, delete the oldest beyond `keep`."""
        known = tuple(self.ids())
        logs = [
            (entry.stat().st_mtime, entry.path)
            for entry in os.scandir(self.home.logs)
            if entry.name.endswith(".log") and not entry.name.startswith(known)
        ]
        settled = time.time() - _SETTLED_S  # a younger one may belong to a spawn under way
        for changed, path in sorted(logs, reverse=True)[keep:]:
            if changed < settled:
                Path(path).unlink(missing_ok=True)

    def _record(self, worker: str) -> Path:
        return self.home.workers / f"{worker}.json"

    @staticmethod
    def _is_record(name: str) -> bool:
        return (
            name.endswith(".json") and not name.endswith(_STATE_SUFFIX) and not name.startswith(".")
        )
