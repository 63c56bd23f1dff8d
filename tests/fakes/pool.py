"""A pool whose workers are stand-ins, and which leaves no process behind."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

from pool_core.events import Event
from pool_core.home import Home
from pool_core.settings import Settings, SpawnLimits
from pool_core.spawn.record import WorkerRecord, WorkerSpec
from pool_core.spawn.spawner import Spawner

ROOT = Path(__file__).resolve().parent.parent.parent
FAKE_WORKER = Path(__file__).with_name("worker.py")
MODEL = ROOT / "catalogs" / "reference" / "ref-llama.gguf"

T = TypeVar("T")


def finish(work: Generator[Event, None, T]) -> tuple[list[Event], T]:
    """Run an operation to its end: its events, and what it returns."""
    events = []
    while True:
        try:
            events.append(next(work))
        except StopIteration as stop:
            return events, stop.value


class FakePool:
    """Spawns stand-in workers in `folder`. A context manager: what is left at the end is killed."""

    def __init__(self, folder: Path) -> None:
        self.home = Home.from_env({"LLORCH_HOME": str(folder)})

    def __enter__(self) -> FakePool:
        return self

    def __exit__(self, *_: object) -> None:
        finish(self.spawner().stop_all(grace_s=0))

    def spawner(self, *flags: str, **limits: float) -> Spawner:
        """A spawner whose workers get these `--fake-…` flags."""
        program = (sys.executable, str(FAKE_WORKER), *flags)
        settings = Settings(spawn=SpawnLimits(**limits))
        return Spawner(self.home, settings, program_of=lambda backend: program)

    def spawn(self, *flags: str, **spec: Any) -> WorkerRecord:
        return finish(self.spawner(*flags).spawn(self.spec(**spec)))[1]

    def use_as_runtime(self, *flags: str, backend: str = "cpu") -> None:
        """Let the command line find the stand-in: as the runtime installed for `backend`."""
        root = self.home.runtimes / backend
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        libraries = root / "lib" / version / "site-packages" / "llama_cpp" / "lib"
        libraries.mkdir(parents=True, exist_ok=True)
        (libraries / f"libggml-{backend}.so").touch()
        python = root / "bin" / "python"
        python.parent.mkdir(exist_ok=True)
        words = shlex.join([sys.executable, str(FAKE_WORKER), *flags])
        python.write_text(f'#!/bin/sh\nshift 3  # -P -m worker\nexec {words} "$@"\n')
        python.chmod(0o755)

    def spec(self, **values: Any) -> WorkerSpec:
        return WorkerSpec(**{"model": "ref-llama", "model_path": MODEL, "backend": "cpu"} | values)
