"""The one thread that touches the disk, and what waits for it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

Job = Callable[[], None]


class IoThread:
    """Runs reads first, somebody waits for them; then changes, in order.

    At most one change waits for each key: a newer one takes the place of the older. A job that
    raises is logged; the thread lives on. All methods are safe to call from any thread.
    """

    def __init__(self, name: str) -> None:
        self._changed = threading.Condition()
        self._reads: deque[Job] = deque()
        self._changes: dict[str, Job] = {}
        self._is_changing = False
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def num_changes(self) -> int:
        """Changes that wait or are being made."""
        with self._changed:
            return len(self._changes) + self._is_changing

    def read(self, job: Job) -> bool:
        """False when the thread was closed: the job will not run."""
        with self._changed:
            if not self._is_closed:
                self._reads.append(job)
                self._changed.notify_all()
            return not self._is_closed

    def change(self, key: str, job: Job) -> bool:
        """False when the thread was closed: the job will not run."""
        with self._changed:
            if not self._is_closed:
                self._changes[key] = job
                self._changed.notify_all()
            return not self._is_closed

    def forget_change(self, key: str) -> None:
        """Drop what waits for the key, if it has not begun."""
        with self._changed:
            self._changes.pop(key, None)
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until no change waits or runs; False when that took too long."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._changes and not self._is_changing, timeout_s
            )

    def close(self, timeout_s: float) -> None:
        """Drop the changes that wait, run the reads that do, and end."""
        with self._changed:
            self._is_closed = True
            self._changes.clear()
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def run_reads(self) -> None:
        """For a long change to call now and then: somebody waits for the reads."""
        while True:
            with self._changed:
                if not self._reads:
                    return
                job = self._reads.popleft()
            _run_safely(job)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            _run_safely(job)

    def _next(self) -> Job | None:
        with self._changed:
            self._is_changing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._reads or self._changes or self._is_closed)
            if self._reads:
                return self._reads.popleft()
            if self._is_closed:
                return None
            self._is_changing = True
            return self._changes.pop(next(iter(self._changes)))


def _run_safely(job: Job) -> None:
    try:
        job()
    except Exception:
        log.exception("cache: unforeseen")
