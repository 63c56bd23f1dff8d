"""When to try again, and when to stop."""

from __future__ import annotations

import time
from collections.abc import Callable

from pool_core.download.settings import DownloadSettings


class Transient(Exception):
    """Something that may be gone next time. `retry_after` is what the server asked for."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class Patience:
    """Counts failures since the last progress; `clock` gives seconds."""

    def __init__(
        self, settings: DownloadSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self.progressed()

    def progressed(self) -> None:
        """Bytes arrived: whatever went wrong before is forgiven."""
        self._failures = 0
        self._since = self._clock()

    def next_wait(self, trouble: Transient) -> float | None:
        """How long to wait before trying again; None when it is time to give up."""
        settings = self._settings
        self._failures += 1
        if self._failures >= settings.attempts:
            return None
        if trouble.retry_after is not None:
            self._since += trouble.retry_after
            return trouble.retry_after if trouble.retry_after <= settings.longest_wait_s else None
        wait = min(settings.backoff_s * 2 ** (self._failures - 1), settings.longest_backoff_s)
        late = self._clock() + wait - self._since > settings.patience_s
        return None if late else wait
