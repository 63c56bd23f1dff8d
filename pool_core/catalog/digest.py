"""sha256 of a large file, with progress."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from pathlib import Path

from pool_core.events import Event
from pool_core.files import clear_os_errors
from pool_core.meter import Meter

CHUNK = 1 << 20


def hash_file(path: Path, task: str) -> Generator[Event, None, str]:
    """The hexadecimal sha256 of `path`. Memory stays at one chunk."""
    digest = hashlib.sha256()
    yield from hash_into(digest, path, task)
    return digest.hexdigest()


def hash_into(digest: hashlib._Hash, path: Path, task: str) -> Generator[Event, None, None]:
    """Feed all of `path` to `digest`."""
    with clear_os_errors(path), path.open("rb", buffering=0) as file:
        meter = Meter(task, path.stat().st_size)
        done = 0
        buffer = memoryview(bytearray(CHUNK))
        yield meter.now(0)
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            done += count
            if event := meter.tick(done):
                yield event
        yield meter.now(done)
