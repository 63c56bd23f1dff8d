"""`llorch-worker` whose model loads when it is told to, and is a scripted one.

Run as a program. It reports 40 % and then waits: until the file named by SLOW_WORKER_GATE exists.
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
    runner: ModelRunner = FakeRunner(b"ok")
    return runner


serve.Worker.load = load  # type: ignore[method-assign]
sys.exit(main())
