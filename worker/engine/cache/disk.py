"""Snapshots on disk: a folder of checksummed files, a budget in bytes, least recently used out."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np

from worker.engine.cache import disk_files
from worker.engine.cache.disk_files import Kept
from worker.engine.cache.file_format import BadFile, Head, encode_head, read_head, read_state
from worker.engine.cache.fingerprint import Fingerprint
from worker.engine.cache.siblings import Siblings
from worker.engine.cache.snapshot import Snapshot, Tokens
from worker.engine.cache.stats import Tally

SIBLINGS_S = 60.0
_MAX_BAD_FILES = 16
_TRIES = 3
_BAD_SHARE = 10  # files set aside may take one part in so many of the budget, beside it


@dataclass(slots=True)
class Entry:
    """A file of the store. `used_ns` is its mtime as last seen, which is touched on use."""

    key: str
    agent: str | None
    exact: bool
    tokens: Tokens
    num_bytes: int
    used_ns: int
    inode: int
    tail: tuple[int, ...] = ()


class DiskStore:
    """The files of one fingerprint, in a folder of its own below `folder`.

    `max_bytes` is for all fingerprints' files below `folder` together: whichever was not used for
    longest goes first. Other workers may use the same folder: whatever another has added, replaced
    or removed is seen at the next `refresh`; for the sum of sizes, what those of other fingerprints
    have is looked up every `siblings_s` at most. By so much, and by an old file while a new one
    replaces it, the sum may exceed `max_bytes`. Only one thread may call the methods; none raises
    for what the disk does.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: Fingerprint,
        max_bytes: int,
        *,
        siblings_s: float = SIBLINGS_S,
    ) -> None:
        self.folder = folder / fingerprint.digest[:32]
        self.max_bytes = max_bytes
        self.tally = Tally()
        self.on_change: Callable[[str, Entry | None], None] = lambda key, entry: None
        self.on_pause: Callable[[], None] = lambda: None  # in a long write; may call `read`
        self._fingerprint = fingerprint
        self._siblings = Siblings(self.folder, siblings_s)
        self._entries: dict[str, Entry] = {}  # by file name
        self._refused: dict[str, int] = {}  # inodes of bad files that could not be set aside

    @property
    def num_bytes(self) -> int:
        return sum(entry.num_bytes for entry in self._entries.values())

    def path(self, key: str) -> Path:
        """Where the key's file is, if there is one."""
        return self.folder / _name(key)

    def refresh(self) -> None:
        """Compare with the folder, reading the heads of files that are new, the last used first."""
        try:
            self._refresh()
        except OSError as error:
            self.tally.disk_failed(disk_files.kind(error), self.folder, error)

    def _refresh(self) -> None:
        try:
            found = disk_files.scan(self.folder)
        except FileNotFoundError:
            found = []
        found = [item for item in found if item.name.endswith(".kv")]
        names = {item.name for item in found}
        for name in [name for name in self._entries if name not in names]:
            self._forget(name)
        new = []
        for item in found:
            entry = self._entries.get(item.name)
            if entry is None or entry.inode != item.inode():
                with suppress(FileNotFoundError):
                    new.append((item.name, item.stat(follow_symlinks=False)))
        for name, status in sorted(new, key=lambda item: item[1].st_mtime_ns, reverse=True):
            if self._refused.get(name) != status.st_ino:
                self._learn(name)

    def read(self, key: str) -> Snapshot | None:
        """The snapshot; None when it cannot be had, which is counted, logged and the file put away.

        Its tokens are those of the file now: another worker may have replaced it.
        """
        name = _name(key)
        with self._usable(name), disk_files.opened(self.path(key)) as (file, status):
            head = self._head(file, status, name)
            state = read_state(file, head)
            now = time.time_ns()
            with suppress(OSError):
                os.utime(self.folder / name, ns=(now, now))
            self._remember(name, head, status.st_ino, now)
            return Snapshot(head.key, head.tokens, state, head.agent, head.exact, head.tail)
        return None

    def write(self, snapshot: Snapshot) -> bool:
        """Store or replace, all of it or nothing. False when not, which is counted and logged.

        On a full disk what was not used for longest makes room, if that is enough.
        """
        name = _name(snapshot.key)
        path = self.folder / name
        try:
            head = encode_head(snapshot, self._fingerprint)
            num_bytes = len(head) + len(snapshot.state)
            if num_bytes > self.max_bytes:
                raise ValueError(f"{num_bytes} bytes do not fit in {self.max_bytes}")
            self._refresh()
            self._make_room(num_bytes, keep=name)
            now = time.time_ns()
            inode = self._place(path, head, snapshot.state, now)
        except ValueError as error:
            self.tally.write_failed("too_large", path, error)
            return False
        except OSError as error:
            self.tally.write_failed(disk_files.kind(error), path, error)
            return False
        self.tally.written()
        self._refused.pop(name, None)
        self._entries[name] = Entry(
            snapshot.key,
            snapshot.agent,
            snapshot.exact,
            snapshot.tokens,
            num_bytes,
            now,
            inode,
            snapshot.tail,
        )
        self.on_change(snapshot.key, self._entries[name])
        return True

    def remove(self, key: str) -> None:
        """Delete the file, if it is there, and those of the key that were set aside."""
        name = _name(key)
        for path in self.folder.glob(f"{Path(name).stem}.*.bad"):
            with suppress(OSError):
                path.unlink()
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            self._refuse(name)
            self.tally.disk_failed(disk_files.kind(error), self.folder / name, error)
        self._forget(name)

    def set_aside(self, key: str, reason: str) -> None:
        """Rename the file, if it is there, so that it is never read again but can be looked at."""
        self._set_aside(_name(key), reason)

    def _set_aside(self, name: str, reason: str) -> None:
        path = self.folder / name
        safe = "".join(c if c.isalnum() else "_" for c in reason)[:32]
        try:
            path.rename(path.with_suffix(f".{safe}.bad"))
        except FileNotFoundError:
            pass
        except OSError as error:
            self._refuse(name)
            self.tally.disk_failed(disk_files.kind(error), path, error)
        else:
            disk_files.bound_bad(self.folder, _MAX_BAD_FILES, self.max_bytes // _BAD_SHARE)
        self._forget(name)

    def _refuse(self, name: str) -> None:
        with suppress(OSError):
            self._refused[name] = (self.folder / name).lstat().st_ino

    def _learn(self, name: str) -> None:
        path, gone = self.folder / name, suppress(FileNotFoundError)
        with self._usable(name), gone, disk_files.opened(path) as (file, status):
            self._remember(name, self._head(file, status, name), status.st_ino, status.st_mtime_ns)

    def _head(self, file: FileIO, status: os.stat_result, name: str) -> Head:
        head = read_head(file, status.st_size, self._fingerprint)
        if _name(head.key) != name:
            raise BadFile("header", "the name of the file is not that of its key")
        return head

    def _remember(self, name: str, head: Head, inode: int, used_ns: int) -> None:
        known = self._entries.get(name)
        # A file replaced twice may have the first one's inode.
        if known is not None and known.inode == inode and np.array_equal(known.tokens, head.tokens):
            known.used_ns, known.tail = used_ns, head.tail
            return
        self._entries[name] = Entry(
            head.key, head.agent, head.exact, head.tokens, head.num_bytes, used_ns, inode, head.tail
        )
        self.on_change(head.key, self._entries[name])

    def _forget(self, name: str) -> None:
        entry = self._entries.pop(name, None)
        if entry is not None:
            self.on_change(entry.key, None)

    @contextmanager
    def _usable(self, name: str) -> Iterator[None]:
        """Put away what turns out bad; forget what is gone."""
        path = self.folder / name
        try:
            yield
        except BadFile as error:
            self.tally.read_failed(error.reason, path, error)
            self._set_aside(name, error.reason)
        except FileNotFoundError:
            self.tally.read_failed("vanished", path, "another process removed it")
            self._forget(name)
        except OSError as error:
            self.tally.read_failed("unreadable", path, error)
            if disk_files.is_lasting(error):
                self._set_aside(name, "unreadable")
            else:
                self._forget(name)
        except MemoryError:
            self.tally.read_failed("memory", path, "no memory for it")
            self._forget(name)

    def _place(self, path: Path, head: bytes, state: bytes, mtime_ns: int) -> int:
        """Write the file, and return its inode. Raises OSError."""
        tries = 0
        while True:
            tries += 1
            try:
                disk_files.make_folder(self.folder)
                return disk_files.write(
                    path, head, state, mtime_ns=mtime_ns, on_pause=self.on_pause
                )
            except OSError as error:
                num_bytes = len(head) + len(state)
                if tries == _TRIES or not self._mend(error, num_bytes, keep=path.name):
                    raise

    def _mend(self, error: OSError, num_bytes: int, *, keep: str) -> bool:
        """Whether another try may do better. Raises OSError."""
        if isinstance(error, FileNotFoundError):
            return True  # another worker removes the folder of one that has nothing in it
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return False
        missing = max(num_bytes - disk_files.free_bytes(self.folder), 1)
        if sum(kept.num_bytes for kept in self._kept(keep)) < missing:
            return False
        self._evict(missing, keep=keep)
        return True

    def _make_room(self, num_bytes: int, *, keep: str) -> None:
        """Delete the least recently used until so many bytes fit. Raises OSError."""
        self._siblings.refresh()
        if self._excess(num_bytes, keep) > 0:
            self._siblings.refresh(in_need=True)
            self._evict(self._excess(num_bytes, keep), keep=keep)

    def _excess(self, num_bytes: int, keep: str) -> int:
        """By how much the budget is exceeded with so many bytes in the place of `keep`."""
        replaced = self._entries[keep].num_bytes if keep in self._entries else 0
        return self.num_bytes - replaced + self._siblings.num_bytes + num_bytes - self.max_bytes

    def _evict(self, num_bytes: int, *, keep: str) -> None:
        """Delete the least recently used, so many bytes of them. Raises OSError."""
        for kept, error in disk_files.delete_oldest(self._kept(keep), num_bytes):
            if kept.path not in self._siblings:
                if error is not None:
                    raise error
                self._forget(os.path.basename(kept.path))
            elif error is None:
                self._siblings.forget(kept.path)
            else:
                self._siblings.give_up(kept.path)
                self.tally.disk_failed(disk_files.kind(error), kept.path, error)

    def _kept(self, keep: str) -> list[Kept]:
        """All that may go, but for the file `keep`."""
        own = [
            Kept(entry.used_ns, os.path.join(self.folder, name), entry.num_bytes)
            for name, entry in self._entries.items()
            if name != keep
        ]
        return own + self._siblings.kept


def _name(key: str) -> str:
    """A key may hold anything; a file name may not."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32] + ".kv"
