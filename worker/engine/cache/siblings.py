"""What other models and other builds keep beside a store: it counts too, and goes when unused."""

from __future__ import annotations

import os
import re
import stat
import time
from contextlib import suppress
from pathlib import Path

from worker.engine.cache.disk_files import Kept, scan

_FOLDER = re.compile(r"[0-9a-f]{32}")
_FILE = re.compile(r"[0-9a-f]{32}\.(kv|\w+\.bad)")
_HASTE = 12
_QUIET_S = 60.0


class Siblings:
    """The files of other fingerprints, in the folders beside `own`; nothing else is looked at.

    They are listed every `max_age_s` at most. Those that cannot be deleted count no more.
    """

    def __init__(self, own: Path, max_age_s: float) -> None:
        self.num_bytes = 0
        self._own = own
        self._max_age_s = max_age_s
        self._listed_s: float | None = None
        self._kept: dict[str, Kept] = {}  # by path
        self._stuck: set[str] = set()

    def __contains__(self, path: str) -> bool:
        return path in self._kept

    @property
    def kept(self) -> list[Kept]:
        return list(self._kept.values())

    def refresh(self, *, in_need: bool = False) -> None:
        """List the files again if that was long ago; when something has to go, if not just now."""
        age_s = self._max_age_s / _HASTE if in_need else self._max_age_s
        if self._listed_s is not None and time.monotonic() - self._listed_s < age_s:
            return
        self._kept.clear()
        with suppress(OSError), os.scandir(self._own.parent) as items:
            for item in items:
                is_ours = _FOLDER.fullmatch(item.name) and item.name != self._own.name
                if is_ours and item.is_dir(follow_symlinks=False):
                    self._list(item.path)
        self.num_bytes = sum(kept.num_bytes for kept in self._kept.values())
        self._listed_s = time.monotonic()

    def forget(self, path: str) -> None:
        """The file is gone."""
        kept = self._kept.pop(path, None)
        if kept is not None:
            self.num_bytes -= kept.num_bytes

    def give_up(self, path: str) -> None:
        """The file cannot be deleted."""
        self._stuck.add(path)
        self.forget(path)

    def _list(self, folder: str) -> None:
        """What cannot be read is not ours to count."""
        with suppress(OSError):
            found = scan(folder)
            if not found:
                _remove_if_quiet(folder)
            for item in found:
                if not _FILE.fullmatch(item.name) or item.path in self._stuck:
                    continue
                with suppress(OSError):
                    status = item.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        kept = Kept(status.st_mtime_ns, item.path, status.st_size)
                        self._kept[item.path] = kept


def _remove_if_quiet(folder: str) -> None:
    """If it is empty. A worker that needs it makes it again. Raises OSError."""
    if time.time() - os.lstat(folder).st_mtime > _QUIET_S:
        os.rmdir(folder)
