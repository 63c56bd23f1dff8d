"""Which process a pid meant: pid and start time together, because pids are used again."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

_STATE, _START_TICKS = 0, 19  # fields of /proc/<pid>/stat, counted after the command's name
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process of this machine, for good: no later process with the same pid equals it.

    `start` is opaque: it names the boot and the moment in it when the process began.
    """

    pid: int
    start: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The process that has `pid` now; None if there is none, or only its zombie."""
        start = _start_of(pid)
        return cls(pid, start) if start else None

    def is_alive(self) -> bool:
        return self.start != "" and _start_of(self.pid) == self.start

    def rss_bytes(self) -> int:
        """Resident memory; 0 if the process is gone."""
        if not self.is_alive():
            return 0
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE
        except (OSError, IndexError):
            return _psutil_rss(self.pid)


def _start_of(pid: int) -> str:
    """When the process with `pid` began; "" if it does not run (a zombie does not)."""
    if pid <= 0:
        return ""
    if not sys.platform.startswith("linux"):
        return _psutil_start(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    values = stat.rpartition(")")[2].split()  # the name may hold spaces and parentheses
    return "" if values[_STATE] in "ZX" else f"{_boot_id()}:{values[_START_TICKS]}"


@cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().split("-")[0]


def _psutil_start(pid: int) -> str:
    import psutil  # slow to import, and /proc answers on Linux

    try:
        process = psutil.Process(pid)
        is_zombie = process.status() == psutil.STATUS_ZOMBIE
        return "" if is_zombie else f"{process.create_time():.6f}"
    except psutil.Error:
        return ""


def _psutil_rss(pid: int) -> int:
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
