"""Writing files so that a crash, a full disk or a second writer never leaves half of one."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pool_core.errors import DiskFull, LlorchError, PermissionRefused


@contextmanager
def clear_os_errors(path: Path) -> Iterator[None]:
    """Turn the OS errors an operator can do something about into errors that say so.

    Raises PermissionRefused, DiskFull or LlorchError naming `path`.
    """
    try:
        yield
    except PermissionError as error:
        raise PermissionRefused(
            f"no permission for {error.filename or path}", "check its owner and mode"
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"no space left for {path}", "free some space and run it again"
            ) from error
        raise LlorchError(f"{path}: {error.strerror or error}") from error


def write_atomic(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace `path` in one step: temporary file beside it, fsync, rename, fsync of the folder.

    Readers see the old text or the new one. Raises what `clear_os_errors` raises.
    """
    with clear_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), mode)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
