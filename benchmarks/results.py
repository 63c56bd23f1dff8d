"""RESULTS.md: every run's tables, with what is needed to judge them and to run them again."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.machine import Conditions
from benchmarks.table import Table

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"
_WIDTH = 100


def section(table: Table, command: str, conditions: Conditions, now: datetime | None = None) -> str:
    """One table as a section of the file."""
    now = now or datetime.now(UTC)
    text = f"## {table.title}\n\n{now:%Y-%m-%d %H:%M} UTC, `{command}`\n\n"
    text += textwrap.fill(conditions.sentence(), _WIDTH) + "\n\n"
    text += table.to_markdown()
    for note in table.notes:
        text += "\n" + textwrap.fill(note, _WIDTH) + "\n"
    return text


def append(table: Table, command: str, conditions: Conditions, *, path: Path = RESULTS) -> str:
    """Add the table at the end of the file, and return what was added."""
    text = section(table, command, conditions)
    before = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    path.write_text(f"{before.rstrip()}\n\n{text}", encoding="utf-8")
    return text
