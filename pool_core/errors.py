"""Errors with data and a remedy; turned into words and exit codes once, at the edge."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """What the command lines exit with; the same table for `llorch` and `llorch-pool`."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    VERSION = 5
    CHECK_FAILED = 6
    CELLS_FAILED = 100
    CANCELLED = 130


class LlorchError(Exception):
    """Base of every error a person may see: one line of what happened, and what to do next.

    `code` is stable and crosses the wire; `details` are JSON values for programs.
    """

    code = "E_FAILED"
    exit_code = ExitCode.FAILED

    def __init__(self, message: str, remedy: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.details = details

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class RemoteError(LlorchError):
    """An error that another process reported over the wire, kept as it was said there."""

    def __init__(
        self,
        code: str,
        message: str,
        remedy: str | None = None,
        exit_code: ExitCode = ExitCode.FAILED,
        **details: Any,
    ) -> None:
        super().__init__(message, remedy, **details)
        self.code = code
        self.exit_code = exit_code


class UsageError(LlorchError):
    """The request itself is wrong: nothing was tried."""

    code = "E_USAGE"
    exit_code = ExitCode.USAGE


class ConfigError(UsageError):
    """A file a person edits is wrong; names the file, the table and the key."""

    code = "E_CONFIG"


class UnknownName(UsageError):
    """A model, backend, pool or worker that does not exist, with the nearest that do."""

    code = "E_UNKNOWN"

    def __init__(self, kind: str, name: str, known: Iterable[str], listing: str) -> None:
        names = sorted(known)
        near = get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"see: {listing}"
        super().__init__(f'unknown {kind} "{name}"', hint, kind=kind, name=name, nearest=near)


class Cancelled(LlorchError):
    """The operator stopped it (Ctrl-C, a cancel over the wire, or a lost lease)."""

    code = "E_CANCELLED"
    exit_code = ExitCode.CANCELLED

    def __init__(self, message: str = "cancelled", remedy: str | None = None) -> None:
        super().__init__(message, remedy)


class PermissionRefused(LlorchError):
    """The file system said no."""

    code = "E_PERMISSION"


class DiskFull(LlorchError):
    """Not enough room; `needed` and `available` are bytes."""

    code = "E_DISK"
