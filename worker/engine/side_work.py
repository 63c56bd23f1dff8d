"""Computations that write no tokens, done in pieces beside those that do."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from worker.engine.errors import EngineStopped
from worker.engine.runner import ModelRunner, RunnerError

log = logging.getLogger(__name__)

T = TypeVar("T")
Pieces = Generator[None, None, T]
"""Yields after each piece of the work, which takes no longer than a step; returns the result."""


class Job(Generic[T]):
    """One computation, and who waits for it in the event loop. Cancelling `outcome` drops it."""

    def __init__(self, begin: Callable[[ModelRunner], Pieces[T]]) -> None:
        self._begin = begin
        self._pieces: Pieces[T] | None = None
        self._loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[T] = self._loop.create_future()

    def advance(self, runner: ModelRunner) -> bool:
        """Do one piece; whether there is nothing left to do. In the engine's thread."""
        if self.outcome.cancelled():
            self._close()
            return True
        try:
            if self._pieces is None:
                self._pieces = self._begin(runner)
            next(self._pieces)
        except StopIteration as end:
            self._settle(self.outcome.set_result, end.value)
        except RunnerError as error:
            self.fail(error)
        except Exception as error:  # a bug must not leave anybody waiting
            log.exception("a computation failed")
            self.fail(RunnerError(f"{type(error).__name__}: {error}", code="INTERNAL"))
        else:
            return False
        return True

    def fail(self, error: Exception) -> None:
        self._close()
        self._settle(self.outcome.set_exception, error)

    def _close(self) -> None:
        if self._pieces is not None:
            self._pieces.close()

    def _settle(self, set_it: Callable[[Any], None], value: Any) -> None:
        def settle() -> None:  # nobody may be waiting any more
            if not self.outcome.done():
                set_it(value)

        try:
            self._loop.call_soon_threadsafe(settle)
        except RuntimeError:  # the event loop is closed
            log.warning("a computation has nobody who waits for it")


class SideWork:
    """Jobs in the order they came; one is worked on at a time. Any thread may add."""

    def __init__(self) -> None:
        self._jobs: deque[Job[Any]] = deque()

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def add(self, job: Job[Any]) -> None:
        self._jobs.append(job)

    def advance(self, runner: ModelRunner) -> None:
        """One piece of the oldest."""
        if self._jobs and self._jobs[0].advance(runner):
            self._jobs.popleft()

    def stop(self) -> None:
        """End them all, finished or not."""
        while self._jobs:
            self._jobs.popleft().fail(EngineStopped())
