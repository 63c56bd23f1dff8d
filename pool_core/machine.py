"""This machine in numbers: memory, load, disk, temperature. Bytes, degrees Celsius, shares of 1."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Memory:
    total: int
    available: int

    @property
    def used_share(self) -> float:
        return 1 - self.available / self.total if self.total else 0.0


def memory() -> Memory:
    """RAM that a new process could still get; inside a container, what its limit leaves."""
    total, available = _meminfo() or _psutil_memory()
    limit, used = _cgroup_number("memory.max"), _cgroup_number("memory.current")
    if limit is not None and used is not None and limit < total:
        total, available = limit, min(available, max(0, limit - used + _reclaimable()))
    return Memory(total, available)


def load() -> tuple[int, float]:
    """How many CPUs there are for us, and how many were busy over the last minute."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:
        count = os.cpu_count() or 1
    return count, round(os.getloadavg()[0], 2)


def cpu_name() -> str:
    """'AMD EPYC 7B13', or the architecture where nothing better is known."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def disk_free(folder: Path) -> int:
    """Free bytes on the volume of `folder`, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def temperature() -> float | None:
    """The hottest CPU sensor; None where none can be read, as in most virtual machines."""
    readings = []
    for zone in Path("/sys/class/thermal").glob("thermal_zone*"):
        try:
            kind = (zone / "type").read_text().strip()
            degrees = int((zone / "temp").read_text()) / 1000
        except (OSError, ValueError):
            continue
        if any(name in kind for name in ("pkg", "cpu", "soc", "acpitz")) and 0 < degrees < 150:
            readings.append(degrees)
    return max(readings, default=None)


def system() -> str:
    """'Linux 6.8.0 x86_64' or 'macOS 15.1 arm64'."""
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]} {platform.machine()}"
    return f"{platform.system()} {platform.release()} {platform.machine()}"


def _meminfo() -> tuple[int, int] | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        values = {name: int(rest.split()[0]) * 1024 for name, _, rest in map(_split, lines)}
        return values["MemTotal"], values["MemAvailable"]
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _split(line: str) -> tuple[str, str, str]:
    return line.partition(":")


def _psutil_memory() -> tuple[int, int]:
    import psutil  # slow to import, and /proc answers on Linux

    found = psutil.virtual_memory()
    return int(found.total), int(found.available)


def _cgroup_number(name: str) -> int | None:
    try:
        return int((_CGROUP / name).read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None


def _reclaimable() -> int:
    """Page cache that is counted as used but is given back when it is needed."""
    try:
        lines = (_CGROUP / "memory.stat").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    except (OSError, ValueError, IndexError):
        return 0
