"""Where a model's files are on this machine, and what state they are in.

    models/<owner>--<name>/<commit>/<file>          the file, there only once it was verified
    models/<owner>--<name>/<branch or tag>/<file>   a link to it, for an entry without a commit
    models/<owner>--<name>/<revision>/<file>.part   what an unfinished download has so far

So two revisions never mix, and a name that exists is a whole file.
"""

from __future__ import annotations

import glob
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pool_core.catalog.digest import hash_file
from pool_core.catalog.entry import SHIPPED, ModelEntry
from pool_core.catalog.errors import ChecksumMismatch, ModelNotDownloaded
from pool_core.catalog.file_lock import hold
from pool_core.errors import UsageError
from pool_core.events import Event, Warning
from pool_core.files import clear_os_errors
from pool_core.gguf import read_header
from pool_core.home import Home


class ModelStatus(StrEnum):
    MISSING = "missing"
    PARTIAL = "partial"
    PRESENT = "present"
    SHIPPED = "shipped"


@dataclass(frozen=True, slots=True)
class ModelState:
    """`bytes_here` counts whole files and what unfinished downloads have so far."""

    status: ModelStatus
    bytes_here: int

    @property
    def is_usable(self) -> bool:
        return self.status in (ModelStatus.PRESENT, ModelStatus.SHIPPED)


class ModelStore:
    """The models of one pool on disk. Reads only, except `remove`."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def path(self, entry: ModelEntry) -> Path:
        """Where the first file is, or will be."""
        return self.paths(entry)[0]

    def paths(self, entry: ModelEntry) -> list[Path]:
        """Where every file is, or will be, the first shard first."""
        if entry.path is not None:
            return [entry.folder / Path(entry.path).expanduser()]
        folder = self.folder(entry, entry.revision)
        return [folder / name for name in entry.filenames]

    def folder(self, entry: ModelEntry, revision: str) -> Path:
        """The folder of one revision of the entry's repository."""
        assert entry.repo is not None
        return self._home.models / entry.repo.replace("/", "--") / revision.replace("/", "--")

    def state(self, entry: ModelEntry) -> ModelState:
        """What is here of the model, without reading any file."""
        paths = self.paths(entry)
        whole = [path.stat().st_size for path in paths if path.is_file()]
        if len(whole) == len(paths):
            shipped = entry.is_local and entry.source == SHIPPED
            return ModelState(ModelStatus.SHIPPED if shipped else ModelStatus.PRESENT, sum(whole))
        begun = sum(whole) + sum(_size(part_of(path)) for path in paths)
        return ModelState(ModelStatus.PARTIAL if begun else ModelStatus.MISSING, begun)

    def require(self, entry: ModelEntry) -> Path:
        """The first file of a model that is here. Raises ModelNotDownloaded."""
        if self.state(entry).is_usable:
            return self.path(entry)
        if entry.is_local:
            raise ModelNotDownloaded(
                f"{entry.id}: no file at {self.path(entry)}", "put it there, or correct its path"
            )
        raise ModelNotDownloaded(
            f"{entry.id} is not downloaded", f"llorch-pool models download {entry.id}", id=entry.id
        )

    def verify(self, entry: ModelEntry) -> Generator[Event, None, dict[str, Any]]:
        """Read every byte: right sha256, whole GGUF. Returns {id, path, size, sha256, pinned}.

        Raises ChecksumMismatch, HeaderError or ModelNotDownloaded.
        """
        self.require(entry)
        digests: dict[str, str] = {}
        for number, (name, path) in enumerate(
            zip(entry.filenames, self.paths(entry), strict=True), 1
        ):
            found = yield from hash_file(path, f"checking {row_name(entry, number)}")
            expected = entry.digest(name)
            if expected is not None and found != expected:
                raise ChecksumMismatch(path, expected, found, _repair(entry))
            digests[name] = found
        read_header(self.path(entry))
        if not entry.is_pinned:
            yield Warning(f"the catalog has no sha256 for {entry.id}: nothing to compare with")
        return {
            "id": entry.id,
            "path": str(self.path(entry)),
            "size": self.state(entry).bytes_here,
            "sha256": digests if len(digests) > 1 else next(iter(digests.values())),
            "pinned": entry.is_pinned,
        }

    def remove(self, entry: ModelEntry) -> dict[str, Any]:
        """Delete the model's files and what is left of a download.

        Returns {id, removed (paths), bytes_freed}. Raises UsageError for a file that llorch did
        not download, Locked while a download of it runs.
        """
        if entry.is_local:
            raise UsageError(
                f"{entry.id} was not downloaded: {self.path(entry)} is left alone",
                None
                if entry.source == SHIPPED
                else f"llorch-pool models unregister {entry.id} forgets it",
            )
        freed = 0
        removed = []
        with ExitStack() as locks:
            for number, name in enumerate(entry.filenames, 1):
                locks.enter_context(hold(self.lock_file(entry, name), row_name(entry, number)))
            for path in self._files_of(entry):
                freed += 0 if path.is_symlink() else path.stat().st_size
                with clear_os_errors(path):
                    path.unlink()
                removed.append(str(path))
        self._drop_empty_folders(entry)
        return {"id": entry.id, "removed": removed, "bytes_freed": freed}

    def lock_file(self, entry: ModelEntry, filename: str) -> Path:
        """The lock on one file of a repository, whatever its revision."""
        assert entry.repo is not None
        repo = entry.repo.replace("/", "--")
        return self._home.models / repo / ".locks" / f"{filename.replace('/', '--')}.lock"

    def _files_of(self, entry: ModelEntry) -> list[Path]:
        """What exists of the entry: files, unfinished downloads, and every link to them."""
        here = {path for path in self.paths(entry) if path.exists()}
        targets = {path.resolve() for path in here}
        repo = self.folder(entry, entry.revision).parent
        for name in entry.filenames:
            links = {path for path in repo.glob(f"*/{glob.escape(name)}") if path.is_symlink()}
            here |= {path for path in links if path.resolve() in targets or not path.exists()}
        parts = {
            leftover
            for path in self.paths(entry)
            for leftover in (part_of(path), meta_of(path))
            if leftover.exists()
        }
        return sorted(here | targets | parts)

    def _drop_empty_folders(self, entry: ModelEntry) -> None:
        repo = self.folder(entry, entry.revision).parent
        for folder in sorted(repo.glob("**/"), reverse=True):
            if folder != repo and folder.name != ".locks" and not any(folder.iterdir()):
                folder.rmdir()


def part_of(path: Path) -> Path:
    """The unfinished download of `path`."""
    return path.with_name(path.name + ".part")


def meta_of(path: Path) -> Path:
    """What the unfinished download of `path` is a part of."""
    return path.with_name(path.name + ".part.json")


def row_name(entry: ModelEntry, number: int) -> str:
    """What a progress row of the entry's `number`th file is called."""
    count = len(entry.filenames)
    return entry.id if count == 1 else f"{entry.id} {number}/{count}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _repair(entry: ModelEntry) -> str:
    if entry.is_local:
        return "the file was changed or damaged; restore it"
    return f"llorch-pool models download {entry.id} --force"
