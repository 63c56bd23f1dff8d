"""Snapshots to store, and stores to put them in."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from worker.engine.cache.archive import Archive
from worker.engine.cache.disk import SIBLINGS_S, DiskStore
from worker.engine.cache.fingerprint import Fingerprint
from worker.engine.cache.snapshot import Snapshot, Tokens

FINGERPRINT = Fingerprint("a" * 64, "b7000", "f16", {"n_ctx_train": 4096, "rope_freq_base": 1e4})
LARGE = 1 << 30


def tokens(*values: int) -> Tokens:
    return np.array(values, np.int32)


def counting(first: int, size: int) -> Tokens:
    return np.arange(first, first + size, dtype=np.int32)


def snapshot(
    name: str,
    of: Tokens | None = None,
    *,
    state: bytes = b"state" * 200,
    agent: str | None = None,
    exact: bool = False,
) -> Snapshot:
    return Snapshot(f"agent/{name}", tokens(1, 2, 3) if of is None else of, state, agent, exact)


def store(
    folder: Path,
    max_bytes: int = LARGE,
    of: Fingerprint = FINGERPRINT,
    *,
    siblings_s: float = SIBLINGS_S,
) -> DiskStore:
    return DiskStore(folder, of, max_bytes, siblings_s=siblings_s)


def files(folder: Path, pattern: str = "*.kv") -> list[Path]:
    return sorted(folder.rglob(pattern))


def same(a: Snapshot | None, b: Snapshot) -> bool:
    return (
        a is not None
        and (a.key, a.agent, a.exact, a.state) == (b.key, b.agent, b.exact, b.state)
        and np.array_equal(a.tokens, b.tokens)
    )


def fetch(archive: Archive, key: str) -> Snapshot | None:
    """Wait for what the archive gives."""
    done = threading.Event()
    given: list[Snapshot | None] = []

    def on_done(it: Snapshot | None) -> None:
        given.append(it)
        done.set()

    archive.fetch(key, on_done)
    assert done.wait(20)
    assert len(given) == 1
    return given[0]
