"""py-spy: which thread is in which function, and which holds Python's lock, seen from outside."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.errors import BenchmarkError
from benchmarks.peer.venvs import py_spy

_RATE = 200  # looks a second
_THREAD = re.compile(r"^thread \(\d+\): (?P<name>.+)$")


@dataclass(slots=True)
class Profile:
    """Looks that found a thread busy, of `looks` in all; `functions` by thread."""

    looks: int = 0
    threads: Counter[str] = field(default_factory=Counter)
    functions: dict[str, Counter[str]] = field(default_factory=dict)

    def share(self, thread: str) -> float:
        """Of all time, how much this thread was busy."""
        return self.threads[thread] / self.looks if self.looks else 0.0


@contextmanager
def profiling(pid: int, seconds: int, *, lock_only: bool) -> Iterator[Profile]:
    """Look at the process for so long, while the block runs; afterwards the profile is filled.

    A thread is busy when it is on a processor; with `lock_only`, when it holds Python's lock.
    """
    profile = Profile()
    with TemporaryDirectory(prefix="llorch-benchmark-") as name:
        output = Path(name) / "profile"
        argv = [str(py_spy()), "record", "--pid", str(pid), "--duration", str(seconds)]
        argv += ["--rate", str(_RATE), "--threads", "--function", "--nonblocking"]
        argv += ["--gil"] if lock_only else []
        argv += ["--format", "raw", "--output", str(output)]
        looking = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            yield profile
        finally:
            said, _ = looking.communicate()
        if not output.exists():
            raise BenchmarkError(f"py-spy saw nothing: {said.strip()[-300:]}")
        profile.looks = _RATE * seconds
        read_into(profile, output.read_text(encoding="utf-8"))


def read_into(profile: Profile, raw: str) -> None:
    """Lines of `frame;frame;… count`, the thread in the first frame."""
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        found = _THREAD.match(frames[0])
        thread = found["name"] if found else frames[0]
        profile.threads[thread] += int(count)
        profile.functions.setdefault(thread, Counter())[frames[-1]] += int(count)
