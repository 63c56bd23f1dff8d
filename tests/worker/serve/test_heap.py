from __future__ import annotations

import platform
import subprocess
import sys

from worker.heap import return_large_blocks

COME_AND_GO = """
import random, psutil
from worker.heap import return_large_blocks
return_large_blocks()
size = lambda: psutil.Process().memory_info().rss
kept, before = [], size()
states = [bytes(1) for _ in range(60)]
for turn in range(3000):
    states[random.randrange(60)] = bytes(random.randrange(300_000, 1_400_000))
    kept.append(bytes(40_000) if turn % 50 == 0 else None)
states.clear()
print(size() - before)
"""


def test_states_that_come_and_go_leave_no_holes() -> None:
    is_glibc = platform.libc_ver()[0] == "glibc"
    assert return_large_blocks() is is_glibc
    if not is_glibc:
        return
    done = subprocess.run([sys.executable, "-c", COME_AND_GO], capture_output=True, check=True)
    assert int(done.stdout) < 8 << 20
