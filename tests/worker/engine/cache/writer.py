"""Writes snapshots until it is killed: `python writer.py FOLDER`."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

import numpy as np

from tests.worker.engine.cache.kit import snapshot, store

STATE_BYTES = 3_000_000
NAMES = ("one", "two", "three")


def state(version: int) -> bytes:
    return version.to_bytes(8, "little") * (STATE_BYTES // 8)


def main(folder: Path) -> None:
    disk = store(folder)
    disk.refresh()
    for version in count():
        name = NAMES[version % len(NAMES)]
        of = np.array([NAMES.index(name), version], np.int32)
        if not disk.write(snapshot(name, of, state=state(version))):
            sys.exit(str(disk.tally.failures))
        print(version, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
