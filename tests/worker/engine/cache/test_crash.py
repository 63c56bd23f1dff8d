"""kill -9 in the midst of writing, for real."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from random import Random

from tests.worker.engine.cache.kit import files, store
from tests.worker.engine.cache.writer import NAMES, state

ROOT = Path(__file__).resolve().parents[4]
KILLS = 12


def run_and_kill(folder: Path, after_s: float) -> int:
    """The last version that the writer said was written."""
    command = [sys.executable, "-m", "tests.worker.engine.cache.writer", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(after_s)
        process.kill()
        written = [first, *process.stdout.read().splitlines(keepends=True)]
    return int([line for line in written if line.endswith("\n")][-1])


def test_whatever_the_moment_a_kill_leaves_whole_files(tmp_path: Path) -> None:
    random, temporaries = Random(3), 0
    for _ in range(KILLS):
        last = run_and_kill(tmp_path, random.uniform(0, 0.08))
        temporaries += len(files(tmp_path, "*.tmp"))
        disk = store(tmp_path)
        disk.refresh()
        assert files(tmp_path, "*.tmp") == files(tmp_path, "*.bad") == []
        for number, name in enumerate(NAMES):
            kept = disk.read(f"agent/{name}")
            if kept is None:
                assert last < number
                continue
            version = int(kept.tokens[1])
            assert kept.tokens[0] == number
            assert kept.state == state(version)
            said = [v for v in range(last + 1) if v % len(NAMES) == number]
            assert version >= max(said, default=0)
        assert disk.tally.failures.keys() <= {"vanished"}
    assert temporaries, "no kill came in the midst of a write"
