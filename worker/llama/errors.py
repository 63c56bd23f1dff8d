"""Why a model could not be brought up: one line, and the exit code that goes with it."""

from __future__ import annotations

from typing import Any

from pool_core.errors import LlorchError
from pool_core.spawn.report import WorkerExit


class LoadError(LlorchError):
    """The worker cannot do what it was asked. `exit` is what its process leaves with."""

    code = "E_LOAD"

    def __init__(
        self, reason: str, exit: WorkerExit, remedy: str | None = None, **details: Any
    ) -> None:
        super().__init__(reason, remedy, **details)
        self.exit = exit
