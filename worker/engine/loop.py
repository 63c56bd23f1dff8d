"""The one thread that touches the Engine."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from worker.engine.engine import Engine
from worker.engine.events import EngineEvent, TokenEvent
from worker.engine.side_work import Job, SideWork

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)

T = TypeVar("T")
Command = Callable[[Engine], list[EngineEvent]]

_QUIET_S = 0.2  # without work, before agents are saved
_STATS_EVERY_S = 0.05
_PUBLISH_EVERY_S = 0.002  # far below what a reader notices


class EngineLoop:
    """Owns an Engine in a thread of its own; others post commands and are sent events.

    `publish` is called in that thread, once for each step that has events; where steps are short,
    once for a few of them, unless something begins or ends. `step_began` is when
    the step that is running began, by the monotonic clock; None between steps.
    """

    def __init__(self, engine: Engine, publish: Callable[[list[EngineEvent]], None]) -> None:
        self._engine = engine
        self._publish = publish
        self._inbox: deque[Command] = deque()
        self._side_work = SideWork()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.stats = engine.stats()
        self.step_began: float | None = None
        engine.on_arrival(self._notify)

    def start(self) -> None:
        self._thread.start()

    def post(self, command: Command) -> None:
        """Have the engine's thread do this before its next step. From any thread."""
        self._inbox.append(command)
        self._notify()

    def compute(self, job: Job[Any]) -> None:
        """Have it done in pieces, one after each step. From any thread."""
        self._side_work.add(job)
        self._notify()

    def drop_side_work(self) -> None:
        """End what is computed beside the steps, finished or not. From any thread."""

        def command(engine: Engine) -> list[EngineEvent]:
            self._side_work.stop()
            return []

        self.post(command)

    def stop(self) -> None:
        """End the thread after the step it is in. Blocks until it has ended."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def _notify(self) -> None:
        with self._wake:
            self._wake.notify()

    def _run(self) -> None:
        stats_at = published_at = 0.0
        events: list[EngineEvent] = []
        while (commands := self._next_commands()) is not None:
            self.step_began = now = time.monotonic()
            new = self._turn(commands)
            self.step_began = None
            events += new
            has_ended = any(not isinstance(event, TokenEvent) for event in new)
            if has_ended or not self._engine.has_work or now - stats_at > _STATS_EVERY_S:
                self.stats, stats_at = self._engine.stats(), now
            # The event loop's work for each crossing is taken from the model's own cores.
            is_due = has_ended or now - published_at > _PUBLISH_EVERY_S or _has_first(new)
            if events and (is_due or not self._engine.has_work):
                self._publish(events)
                events, published_at = [], now
        self._side_work.stop()

    def _turn(self, commands: list[Command]) -> list[EngineEvent]:
        """What was posted, then a step and a piece of side work; or, with nothing to do, a
        chore."""
        engine = self._engine
        events: list[EngineEvent] = []
        try:
            for command in commands:
                events += command(engine)
            if engine.has_work:
                events += engine.step()
            elif not commands and not self._side_work and engine.has_chores:
                engine.do_chore()
        except Exception as error:  # a bug must not leave requests without their end
            log.exception("the engine's step failed")
            events += engine.fail_all("INTERNAL", f"{type(error).__name__}: {error}")
        self._side_work.advance(engine.runner)
        return events

    def _next_commands(self) -> list[Command] | None:
        """What was posted, waiting for something to do; None when it is time to end."""
        if not self._inbox and not self._side_work and not self._engine.has_work:
            self._wait()
        commands: list[Command] = []
        while self._inbox:
            commands.append(self._inbox.popleft())
        return None if self._stopping and not commands else commands

    def _wait(self) -> None:
        engine = self._engine
        patience = _QUIET_S if engine.has_chores else None
        # The lock is for waiting only: taken in every step it would keep those out who post.
        with self._wake:
            self._wake.wait_for(
                lambda: self._stopping or self._inbox or self._side_work or engine.has_work,
                timeout=patience,
            )


def _has_first(events: list[EngineEvent]) -> bool:
    """Whether somebody's answer begins."""
    return any(isinstance(event, TokenEvent) and event.index == 0 for event in events)
