"""Notices a step that does not end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

_CHECKS = 8  # in the time that a step may take


class Watchdog:
    """Interrupts a step that takes longer than `limit_s`; if that does not help for as long
    again, the thread that computes is lost, and `give_up` is called.

    `seconds` tells how long the step that is running has been, 0 between steps.
    """

    def __init__(
        self,
        seconds: Callable[[], float],
        limit_s: float,
        interrupt: Callable[[], None],
        give_up: Callable[[str], None],
    ) -> None:
        self._seconds = seconds
        self._limit_s = limit_s
        self._interrupt = interrupt
        self._give_up = give_up
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        is_interrupted = False
        while not self._stop.wait(self._limit_s / _CHECKS):
            seconds = self._seconds()
            if seconds < self._limit_s:
                is_interrupted = False
            elif not is_interrupted:
                is_interrupted = True
                log.error("a step has been running for %.0f s: interrupting it", seconds)
                self._interrupt()
            elif seconds >= 2 * self._limit_s:
                self._give_up(f"a step has been running for {seconds:.0f} s and cannot be stopped")
                return
