"""The unfinished file: kept when a download breaks off, trusted only after its bytes are hashed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator
from contextlib import suppress
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pool_core.catalog.digest import hash_into
from pool_core.catalog.errors import ChecksumMismatch
from pool_core.catalog.model_store import meta_of, part_of
from pool_core.events import Event, Warning
from pool_core.files import clear_os_errors, sync_folder, write_atomic

if TYPE_CHECKING:  # importing it imports huggingface_hub
    from pool_core.download.hub import RemoteFile


class Part:
    """`<name>.part`, and beside it what it is a part of. A context manager: closes the file.

    The caller holds the lock on the file. Writing raises DiskFull or PermissionRefused.
    """

    def __init__(self, name: Path, remote: RemoteFile) -> None:
        self._path = part_of(name)
        self._meta = meta_of(name)
        self._remote = remote
        self._file: FileIO | None = None
        self._digest = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def bytes_here(self) -> int:
        """What could be resumed, before anything is read."""
        return self._path.stat().st_size if self._belongs() else 0

    def resume(self, task: str) -> Generator[Event, None, None]:
        """Open it: with what is there of the same remote file, else empty."""
        with clear_os_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists() and not self._belongs():
                yield Warning(f"{task}: the file changed on the hub, starting over", "changed")
                self.discard()
            if not self._meta.exists():
                self._path.unlink(missing_ok=True)
                write_atomic(self._meta, json.dumps(self._identity()))
        if self._path.exists() and self._path.stat().st_size:
            yield from hash_into(self._digest, self._path, f"{task}: checking what is there")
        with clear_os_errors(self._path):
            # No buffer: a kill loses nothing, and closing after a full disk has nothing to fail at.
            self._file = self._path.open("ab", buffering=0)
            self.size = self._file.tell()

    def append(self, chunk: bytes) -> None:
        assert self._file is not None, "resume() comes first"
        rest = memoryview(chunk)
        with clear_os_errors(self._path):
            while rest:
                rest = rest[self._file.write(rest) :]
        self._digest.update(chunk)
        self.size += len(chunk)

    def restart(self) -> None:
        """Forget every byte: the server begins at the start again."""
        assert self._file is not None, "resume() comes first"
        with clear_os_errors(self._path):
            self._file.truncate(0)
        self._digest = hashlib.sha256()
        self.size = 0

    def finish(self, target: Path, expected: str | None) -> str:
        """Put the whole file in place, and return its sha256.

        Raises ChecksumMismatch, and then nothing is left of it.
        """
        found = self._digest.hexdigest()
        if expected is not None and found != expected:
            self.discard()
            raise ChecksumMismatch(
                target, expected, found, "it was damaged on the way and is removed: run it again"
            )
        with clear_os_errors(target):
            assert self._file is not None, "resume() comes first"
            os.fsync(self._file.fileno())
            self._close()
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._path, target)
            sync_folder(target.parent)
            self._meta.unlink(missing_ok=True)
        if self._path.parent != target.parent:
            with suppress(OSError):  # another file's part may be in it
                self._path.parent.rmdir()
        return found

    def discard(self) -> None:
        self._close()
        self._path.unlink(missing_ok=True)
        self._meta.unlink(missing_ok=True)

    def _identity(self) -> dict[str, object]:
        """The same bytes: whichever commit they are seen in."""
        identity = asdict(self._remote)
        del identity["commit"]
        return identity

    def _belongs(self) -> bool:
        try:
            is_same = json.loads(self._meta.read_bytes()) == self._identity()
            return is_same and self._path.stat().st_size <= self._remote.size
        except (OSError, ValueError):
            return False

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
