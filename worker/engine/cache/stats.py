"""The archive in numbers, and every failure of it counted and said."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ArchiveStats:
    """Warm is in RAM, cold on disk; sizes in bytes. A snapshot may be both.

    `backlog_bytes` have left the RAM tier and wait to be written. `failures` counts by reason: what
    could not be read, written, kept or restored.
    """

    warm_count: int
    warm_bytes: int
    warm_limit: int
    cold_count: int
    cold_bytes: int
    cold_limit: int
    writes: int
    write_errors: int
    failures: Mapping[str, int]
    pending_writes: int
    backlog_bytes: int


class Tally:
    """Counts what went wrong, and logs it. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: Counter[str] = Counter()
        self._writes = 0
        self._write_errors = 0
        self._said: set[str] = set()

    def read_failed(self, reason: str, where: object, detail: object) -> None:
        """A stored snapshot cannot be used. One log line for each.

        What vanished is no fault: workers that share a budget make room for each other.
        """
        with self._lock:
            self._failures[reason] += 1
        level = logging.DEBUG if reason == "vanished" else logging.WARNING
        log.log(level, "cache: %s is not usable (%s): %s", where, reason, detail)

    def write_failed(self, reason: str, where: object, detail: object) -> None:
        """A snapshot is not kept on disk."""
        with self._lock:
            self._write_errors += 1
        self.disk_failed(reason, where, detail)

    def disk_failed(self, reason: str, where: object, detail: object) -> None:
        """One log line for each reason until a write succeeds again: a full disk stays full."""
        with self._lock:
            self._failures[reason] += 1
            silent = reason in self._said
            self._said.add(reason)
        if not silent:
            log.warning("cache: %s cannot be written or used (%s): %s", where, reason, detail)

    def written(self) -> None:
        with self._lock:
            self._writes += 1
            self._said.clear()

    @property
    def writes(self) -> int:
        return self._writes

    @property
    def write_errors(self) -> int:
        return self._write_errors

    @property
    def failures(self) -> dict[str, int]:
        with self._lock:
            return dict(self._failures)
