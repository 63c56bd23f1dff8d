"""Whatever went wrong, as one error with one line: the last thing before the exit code."""

from __future__ import annotations

import errno
import os
import time
import traceback
from pathlib import Path

from pool_core.errors import Cancelled, DiskFull, LlorchError, PermissionRefused
from pool_core.files import write_atomic
from pool_core.home import Home


class InternalError(LlorchError):
    """A defect of llorch; the traceback is kept in a file for whoever mends it."""

    code = "E_INTERNAL"


def as_error(problem: BaseException, home: Home) -> LlorchError:
    """The error to show for `problem`. Something unexpected leaves its traceback in `logs/`."""
    match problem:
        case LlorchError():
            return problem
        case KeyboardInterrupt():
            return Cancelled()
        case OSError():
            return _os_error(problem)
        case _:
            return _internal_error(problem, home)


def _os_error(problem: OSError) -> LlorchError:
    path = str(problem.filename) if problem.filename else "a file"
    if isinstance(problem, PermissionError):
        return PermissionRefused(f"no permission for {path}", "check its owner and mode")
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"no space left for {path}", "free some space and run it again")
    reason = problem.strerror or str(problem)
    return LlorchError(f"{path}: {reason}" if problem.filename else reason)


def _internal_error(problem: BaseException, home: Home) -> InternalError:
    summary = f"internal error: {type(problem).__name__}: {problem}".splitlines()[0]
    text = "".join(traceback.format_exception(problem))
    path = home.logs / f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    try:
        write_atomic(path, text, mode=0o600)
    except LlorchError:
        return InternalError(summary, f"no traceback could be kept in {home.logs}")
    return InternalError(summary, f"the traceback is in {_short(path)}", traceback=str(path))


def _short(path: Path) -> str:
    """`~/…` where that is what it is; easier to read and to paste."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):
        return str(path)
