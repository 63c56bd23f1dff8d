"""One process at a time per file of a model, and everybody else is told who that is."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pool_core.errors import LlorchError
from pool_core.files import clear_os_errors


class Locked(LlorchError):
    """Another process is downloading or removing the same file."""

    code = "E_LOCKED"


@contextmanager
def hold(lock_file: Path, subject: str) -> Iterator[None]:
    """Hold the lock on `subject` for the block. Raises Locked at once when another has it.

    The kernel ends the lock with its process, however that dies, so a lock is never stale. The
    file stays: removing it would let two processes hold locks on two files of the same name.
    """
    with clear_os_errors(lock_file):
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(handle, 0)
            os.write(handle, json.dumps({"pid": os.getpid(), "since": time.time()}).encode())
        except BlockingIOError:
            raise _locked(handle, subject) from None
        except BaseException:
            os.close(handle)
            raise
    try:
        yield
    finally:
        os.close(handle)


def _locked(handle: int, subject: str) -> Locked:
    try:
        with os.fdopen(handle, "rb") as file:
            owner = json.loads(file.read(4096))
        pid, since = int(owner["pid"]), float(owner["since"])
    except (ValueError, KeyError, TypeError):  # it has just taken the lock
        return Locked(f"{subject} is in use by another process", "wait for it, then run again")
    clock = time.strftime("%H:%M:%S", time.localtime(since))
    return Locked(
        f"{subject} is already being downloaded by process {pid}, since {clock}",
        f"wait for it, or stop it: kill {pid}",
        pid=pid,
        since=since,
    )
