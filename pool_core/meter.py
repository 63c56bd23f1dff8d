"""Progress of a transfer: often enough to watch, seldom enough to send."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from pool_core.events import Progress

_EVERY_S = 0.1
_WINDOW_S = 3.0


class Meter:
    """Turns byte counts into Progress events: at most ten a second, with a smoothed rate.

    `total` 0 is unknown. `clock` gives seconds and never goes back.
    """

    def __init__(self, task: str, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._task = task
        self._total = total
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque()

    def tick(self, done: int) -> Progress | None:
        """An event if one is due."""
        now = self._clock()
        if self._samples and now - self._samples[-1][0] < _EVERY_S:
            return None
        return self._sample(now, done)

    def now(self, done: int) -> Progress:
        """An event whether due or not: at the start and at the end."""
        return self._sample(self._clock(), done)

    def _sample(self, now: float, done: int) -> Progress:
        if self._samples and done < self._samples[-1][1]:
            self._samples.clear()  # it started over; a negative rate means nothing
        self._samples.append((now, done))
        while now - self._samples[0][0] > _WINDOW_S:
            self._samples.popleft()
        since, before = self._samples[0]
        rate = (done - before) / (now - since) if now > since else 0.0
        return Progress(self._task, done, self._total, "B", rate)
