"""How single values look: sizes, ages, states."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from rich.text import Text

from pool_core.units import human_bytes
from pool_ctl.views.table import Cell, Row

_STYLES = {
    "ready": "green",
    "ok": "green",
    "yes": "green",
    "downloaded": "green",
    "local": "green",
    "shipped": "green",
    "passed": "green",
    "starting": "yellow",
    "draining": "yellow",
    "partial": "yellow",
    "warn": "yellow",
    "failed": "red",
    "fail": "red",
    "no": "dim",
    "-": "dim",
    "stopped": "dim",
    "skipped": "dim",
}


def field(name: str) -> Callable[[Row], Cell]:
    """The value of a row as it is; "-" for what is missing."""
    return lambda row: "-" if row.get(name) in (None, "") else str(row[name])


def size(name: str) -> Callable[[Row], Cell]:
    """A number of bytes; "-" for none."""
    return lambda row: human_bytes(row[name]) if row.get(name) else "-"


def state(word: str, more: str = "") -> Text:
    """A state, in its colour; the colour never says anything that the word does not."""
    return Text(word + more, style=_STYLES.get(word, ""))


def age(created_at: str) -> str:
    """'12s', '5m', '3h', '2d': enough to see which worker is the new one."""
    seconds = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(created_at)).total_seconds())
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= length:
            return f"{seconds // length:.0f}{unit}"
    return f"{seconds:.0f}s"


def tokens(count: int | None) -> str:
    """A context length: '32k', '1500'."""
    return f"{count // 1024}k" if count and count % 1024 == 0 else str(count or "-")
