"""What the store does with its folder: whole files or none, and nothing left lying about."""

from __future__ import annotations

import errno
import fcntl
import heapq
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from pool_core.files import sync_folder
from worker.engine.cache.file_format import BadFile

_TEMPORARY = ".tmp"
_CHUNK = 1 << 23
_KINDS = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EFBIG: "disk_full",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.EROFS: "read_only",
    errno.EEXIST: "not_a_folder",
    errno.ENOTDIR: "not_a_folder",
}
_LASTING = (errno.EACCES, errno.EPERM, errno.EIO, errno.ELOOP, errno.EISDIR, errno.ENXIO)


class Kept(NamedTuple):
    """A file by when it was last used, as its mtime said when it was seen."""

    used_ns: int
    path: str
    num_bytes: int


def kind(error: OSError) -> str:
    """Why the disk refused, in a word to count by."""
    return _KINDS.get(error.errno or 0, "io")


def is_lasting(error: OSError) -> bool:
    """Whether the file itself is to blame, and will be tomorrow."""
    return error.errno in _LASTING


def make_folder(folder: Path) -> None:
    """Only its owner may look in: states hold what people wrote. Raises OSError."""
    if not folder.is_dir():
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)


def scan(folder: Path | str) -> list[os.DirEntry[str]]:
    """The files there are. What a crash left half written is removed. Raises OSError."""
    found = []
    with os.scandir(folder) as items:
        for item in items:
            if not (item.name.startswith(".") and item.name.endswith(_TEMPORARY)):
                found.append(item)
                continue
            with suppress(OSError):
                _remove_if_abandoned(item.path)
    return found


@contextmanager
def opened(path: Path) -> Iterator[tuple[FileIO, os.stat_result]]:
    """For reading. Never waits on a pipe somebody left there, nor follows a link.

    Raises OSError, and BadFile for what is no file.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise BadFile("unreadable", "not a regular file")
        yield FileIO(handle, "rb", closefd=False), status
    finally:
        os.close(handle)


def delete_oldest(kept: Iterable[Kept], num_bytes: int) -> Iterator[tuple[Kept, OSError | None]]:
    """Delete the least recently used, so many bytes of them; each is told, and whether it refused.

    A file that was used since it was seen waits for its new turn.
    """
    heap = list(kept)
    heapq.heapify(heap)
    while num_bytes > 0 and heap:
        oldest, error = heapq.heappop(heap), None
        try:
            used_ns = os.lstat(oldest.path).st_mtime_ns
            if used_ns > oldest.used_ns:
                heapq.heappush(heap, oldest._replace(used_ns=used_ns))
                continue
            os.unlink(oldest.path)
        except FileNotFoundError:
            pass
        except OSError as refusal:
            error = refusal
        num_bytes -= oldest.num_bytes
        yield oldest, error


def free_bytes(folder: Path) -> int:
    """What the disk has left for us. Raises OSError."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def write(
    path: Path, head: bytes, state: bytes, *, mtime_ns: int, on_pause: Callable[[], None]
) -> int:
    """Put the file in place in one step, durably, and return its inode. Raises OSError.

    A crash leaves the old file or the new one, and maybe a temporary one that `scan` removes.
    `on_pause` is called every few megabytes.
    """
    if free_bytes(path.parent) < len(head) + len(state):
        raise OSError(errno.ENOSPC, "no space left", str(path))
    handle, temporary = _create_temporary(path)
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            for data in (head, state):
                _write_all(file.fileno(), data, on_pause)
            os.utime(file.fileno(), ns=(mtime_ns, mtime_ns))
            os.fsync(file.fileno())
            os.replace(temporary, path)
            inode = os.fstat(file.fileno()).st_ino
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)
    return inode


def bound_bad(folder: Path, max_files: int, max_bytes: int) -> None:
    """Delete the oldest of the files set aside beyond these bounds. The newest stays anyway."""
    bad = []
    for path in folder.glob("*.bad"):
        with suppress(OSError):
            status = path.lstat()
            bad.append((status.st_ctime_ns, status.st_size, path))
    num_files = num_bytes = 0
    for _, size, path in sorted(bad, reverse=True):
        if not num_files or (num_files < max_files and num_bytes + size <= max_bytes):
            num_files += 1
            num_bytes += size
            continue
        with suppress(OSError):
            path.unlink()


def _create_temporary(path: Path) -> tuple[int, Path]:
    """Its writer holds a lock on it as long as it lives: so others know what is abandoned."""
    while True:
        temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}{_TEMPORARY}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        handle = os.open(temporary, flags, 0o600)
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, temporary
        os.close(handle)  # a scan came between the creation and the lock


def _remove_if_abandoned(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(handle)


def _write_all(handle: int, data: bytes, on_pause: Callable[[], None]) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view[:_CHUNK]) :]
        on_pause()
