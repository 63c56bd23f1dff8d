"""The machine a measurement was made on, and who else was using it."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from pool_core import __version__
from pool_core.backends.wheelhouse import LLAMA_CPP_PYTHON

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Conditions:
    """`load` is the mean of the last minute before and after; `others` the share of all cores
    that processes other than the measured ones took meanwhile."""

    machine: str
    versions: str
    load: tuple[float, float]
    others: float

    def sentence(self) -> str:
        return (
            f"{self.machine}; {self.versions}. Load {self.load[0]:.1f} before and "
            f"{self.load[1]:.1f} after; other work took {self.others:.0%} of the processor."
        )


class Watch:
    """Watches the machine from its creation on."""

    def __init__(self) -> None:
        self._load = os.getloadavg()[0]
        self._busy, self._own = _busy_s(), _own_s()
        self._began = time.monotonic()

    def conditions(self, *versions: str) -> Conditions:
        """How it was so far. The measured processes may have ended or still run."""
        core_s = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        others = (_busy_s() - self._busy) - (_own_s() - self._own)
        share = min(1.0, max(0.0, others / core_s)) if core_s else 0.0
        load = (self._load, os.getloadavg()[0])
        return Conditions(describe_machine(), describe_versions(*versions), load, share)


def describe_machine() -> str:
    memory = psutil.virtual_memory().total / (1 << 30)
    return f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB, {platform.system()}"


def describe_versions(*others: str) -> str:
    own = f"llorch {__version__}{_commit()}"
    python = f"Python {platform.python_version()}"
    return ", ".join((own, python, f"llama-cpp-python {LLAMA_CPP_PYTHON}", *others))


def _busy_s() -> float:
    """CPU seconds that all processes of the machine have used."""
    times = psutil.cpu_times()
    return float(times.user + times.system + getattr(times, "nice", 0.0))


def _own_s() -> float:
    """CPU seconds of this process, of its children that ended and of those that run."""
    me = psutil.Process()
    total = sum(me.cpu_times()[:4])
    for child in me.children(recursive=True):
        try:
            total += sum(child.cpu_times()[:2])
        except psutil.Error:
            continue
    return float(total)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _commit() -> str:
    """The commit of this checkout, and whether files differ from it."""
    argv = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f" ({done.stdout.strip()})"
