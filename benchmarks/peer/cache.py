"""Where what takes long to make is kept between runs."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pool_core.backends.wheelhouse import wheelhouse


def cache_folder() -> Path:
    """Beside the wheels that llorch builds."""
    return wheelhouse().parent / "benchmarks"


@contextmanager
def made_once(folder: Path) -> Iterator[bool]:
    """Whether the folder still has to be filled; it counts as filled when the block ends well.

    Two runs at once wait for each other.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / ".complete"
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        missing = not stamp.exists()
        yield missing
        if missing:
            stamp.touch()
