"""`llorch-worker` whose model loads when it is told to, and talks slowly and without end.

Run as a program. It reports 40 % and then waits until the file named by SLOW_WORKER_GATE exists.
It drains for as many seconds as SLOW_WORKER_DRAIN_S says.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.fakes.runner import FakeRunner
from worker import serve
from worker.__main__ import main
from worker.engine.runner import ModelRunner


def load(self: serve.Worker, on_progress: Callable[[float], None]) -> ModelRunner:
    on_progress(0.4)
    gate = Path(os.environ["SLOW_WORKER_GATE"])
    while not gate.exists():
        time.sleep(0.01)
    runner: ModelRunner = FakeRunner(drawl)
    return runner


def drawl(prompt: tuple[int, ...]) -> bytes:
    time.sleep(0.005)
    return b"x" * 10_000


serve.DRAIN_S = float(os.environ.get("SLOW_WORKER_DRAIN_S", "10"))
serve.Worker.load = load  # type: ignore[method-assign]
sys.exit(main())
