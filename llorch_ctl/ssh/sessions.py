"""How many sessions one connection may hold: sshd counts them (MaxSessions), so we do too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import paramiko

_LIMIT = 6  # sshd allows 10, and frees them late
_WAIT_S = 30.0
_MAX_REFUSALS = 5


class SessionGate:
    """Opens sessions, at most six at a time, fewer where the server proves stricter.

    Thread-safe. Callers wait their turn.
    """

    def __init__(self) -> None:
        self._limit = _LIMIT
        self._open = 0
        self._changed = threading.Condition()

    def open(self, opener: Callable[[], paramiko.Channel]) -> paramiko.Channel:
        """Call `opener` when there is room; `release` must follow. Raises ChannelException when
        the server refuses a session though we hold none, TimeoutError when nobody makes room."""
        refusals = 0
        while True:
            self._take()
            try:
                return opener()
            except paramiko.ChannelException:
                others = self._give_back()
                if others:
                    self._lower_to(others)
                    continue
                refusals += 1
                if refusals >= _MAX_REFUSALS:
                    raise
                time.sleep(0.05 * 2**refusals)
            except BaseException:
                self._give_back()
                raise

    def release(self) -> None:
        self._give_back()

    def _take(self) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._open < self._limit, _WAIT_S):
                raise TimeoutError
            self._open += 1

    def _give_back(self) -> int:
        """Returns how many are still open."""
        with self._changed:
            self._open -= 1
            self._changed.notify_all()
            return self._open

    def _lower_to(self, limit: int) -> None:
        with self._changed:
            self._limit = min(self._limit, max(1, limit))
