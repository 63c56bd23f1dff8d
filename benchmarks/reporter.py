"""What a run says: on the terminal while it goes on, and in RESULTS.md."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import results
from benchmarks.machine import Watch
from benchmarks.table import Table

_QUIET = 0.05  # the share of the processor that others may take while we measure


class Reporter:
    """Prints each table when it is complete, and adds it to the file at `path`, if any."""

    def __init__(self, command: str, path: Path | None) -> None:
        self._command = command
        self._path = path
        self._peers: list[str] = []
        self._watch = Watch()

    def say(self, text: str) -> None:
        print(f"benchmarks: {text}", file=sys.stderr, flush=True)

    def note_peer(self, version: str) -> None:
        """A program that takes part, to be named with the results."""
        self._peers.append(version)

    def report(self, *tables: Table) -> None:
        """Tables of what was measured since the last call."""
        conditions = self._watch.conditions(*self._peers)
        if conditions.others > _QUIET:
            self.say(f"other work took {conditions.others:.0%} of the processor: do not trust this")
        for table in tables:
            if self._path:
                text = results.append(table, self._command, conditions, path=self._path)
            else:
                text = results.section(table, self._command, conditions)
            print(f"\n{text}", flush=True)
        self._watch = Watch()
