"""Events as they come, for a person: progress bars on a terminal, plain lines when piped."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pool_core.events import Event
from pool_core.events import Progress as ProgressEvent
from pool_core.units import human_bytes
from pool_core.wording import describe, plain

__all__ = ["LiveView", "human_bytes"]

_PLAIN_EVERY_S = 5.0


class _AmountColumn(ProgressColumn):
    """'12.3 MB/200.0 MB 1.2 MB/s', or '7/8 cells'."""

    def render(self, task: Task) -> Text:
        unit = task.fields.get("unit", "B")
        if unit == "B":
            amount = human_bytes(task.completed)
            if task.total:
                amount += f"/{human_bytes(task.total)}"
            rate = task.fields.get("rate") or 0
            return Text(amount + (f" {human_bytes(rate)}/s" if rate else ""), style="cyan")
        if unit == "%":
            return Text(f"{task.completed:.0f}%", style="cyan")
        total = f"/{task.total:g}" if task.total else ""
        return Text(f"{task.completed:g}{total} {unit}", style="cyan")


class LiveView:
    """A context manager that shows events on stderr. `prefix` names the pool in a fan-out.

    On a terminal each task has one bar; elsewhere a task prints a line at most every five
    seconds, so a log file stays readable. Not thread-safe: one renderer, fed by a queue.
    """

    def __init__(self) -> None:
        console = Console(file=sys.stderr, highlight=False, emoji=False)
        self._tty = console.is_terminal
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            _AmountColumn(),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            expand=True,
            disable=not self._tty,
        )
        self._tasks: dict[str, TaskID] = {}
        self._last_line: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def show(self, event: Event, prefix: str = "") -> None:
        """Show one event; `prefix` (a pool's name) is set before it."""
        if isinstance(event, ProgressEvent):
            self._show_progress(event, prefix)
        elif line := describe(event):
            label = f"[{prefix}] " if prefix else ""
            self._bars.console.print(plain(label + line), markup=False, style="dim")

    def _show_progress(self, event: ProgressEvent, prefix: str) -> None:
        name = plain(f"{prefix}  {event.task}" if prefix else event.task)
        if not self._tty:
            self._show_line(event, prefix, name)
            return
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=event.total or None)
        self._bars.update(
            self._tasks[name],
            completed=event.done,
            total=event.total or None,
            unit=event.unit,
            rate=event.rate,
        )

    def _show_line(self, event: ProgressEvent, prefix: str, name: str) -> None:
        now = time.monotonic()
        finished = bool(event.total) and event.done >= event.total
        if finished or now - self._last_line.get(name, -_PLAIN_EVERY_S) >= _PLAIN_EVERY_S:
            self._last_line[name] = now
            label = f"[{prefix}] " if prefix else ""
            self._bars.console.print(plain(label + describe(event)), markup=False, soft_wrap=True)
