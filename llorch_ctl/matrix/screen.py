"""Showing a run while it goes on: live rows on a terminal, lines when piped, or JSON lines."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from rich.console import Console as RichConsole
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from llorch_ctl.matrix.happenings import CellFinished, Happening, Note, StageChanged
from llorch_ctl.matrix.plan import CellKey, Plan
from llorch_ctl.matrix.result import CellResult
from llorch_ctl.matrix.views import STYLES
from pool_core.console import Console
from pool_core.events import Log, State
from pool_core.wording import plain

_RESERVED_LINES = 5  # the bar, a blank, the prompt of the shell


class Screen(Protocol):
    """Shows happenings; used from one thread, inside its own `with`."""

    def __enter__(self) -> Any: ...
    def __exit__(self, *_: Any) -> Any: ...
    def show(self, happening: Happening) -> None: ...


def make_screen(plan: Plan, console: Console) -> Screen:
    """The one that fits where we write."""
    if console.json_lines:
        return JsonScreen(console)
    terminal = RichConsole(file=sys.stderr, highlight=False, emoji=False)
    if terminal.is_terminal and not terminal.is_dumb_terminal:
        return LiveScreen(plan, terminal)
    return LineScreen(plan, console)


class JsonScreen(nullcontext[None]):
    """Every happening is a JSON line: a cell's stage or verdict is its state."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def show(self, happening: Happening) -> None:
        match happening:
            case StageChanged(cell=cell, stage=stage):
                detail = happening.text.removeprefix(stage).strip()
                self._console.emit(State(str(cell), stage, detail))
            case CellFinished(result=result):
                self._console.emit(State(str(result.cell), result.status.value, result.reason))
            case Note(text=text):
                self._console.emit(Log(text, source="matrix"))


class LineScreen(nullcontext[None]):
    """One line for each finished cell."""

    def __init__(self, plan: Plan, console: Console) -> None:
        super().__init__()
        self._console = console
        self._total = len(plan.cells)
        self._done = 0

    def show(self, happening: Happening) -> None:
        match happening:
            case CellFinished(result=result, is_earlier=is_earlier):
                self._done += 1
                line = f"[{self._done}/{self._total}] {result.cell} {in_short(result)}"
                self._console.note(line + (" (before)" if is_earlier else ""), style="")
            case Note(text=text):
                self._console.note(text)


class LiveScreen:
    """A row for each cell and a bar for all of them. Long runs show what moves and what broke."""

    def __init__(self, plan: Plan, terminal: RichConsole) -> None:
        self._terminal = terminal
        self._stages: dict[CellKey, str] = dict.fromkeys(plan.cells, "queued")
        self._results: dict[CellKey, CellResult] = {}
        self._live = Live(
            get_renderable=self.render, console=terminal, refresh_per_second=8, transient=True
        )

    def __enter__(self) -> AbstractContextManager[Any]:
        return self._live.__enter__()

    def __exit__(self, *problem: Any) -> None:
        self._live.__exit__(*problem)

    def show(self, happening: Happening) -> None:
        match happening:
            case StageChanged(cell=cell):
                self._stages[cell] = happening.text
            case CellFinished(result=result):
                self._results[result.cell] = result
            case Note(text=text):
                self._terminal.print(plain(text), markup=False, style="dim")

    def render(self) -> Group:
        """Everything as it stands now."""
        done, total = len(self._results), len(self._stages)
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        bar.add_row(ProgressBar(total=total, completed=done), f"{done}/{total} cells")
        rows = Table.grid(padding=(0, 2))
        longest = max(len(plain(str(cell))) for cell in self._stages)
        rows.add_column(
            no_wrap=True, overflow="ellipsis", min_width=min(longest, self._terminal.width // 2)
        )
        rows.add_column(no_wrap=True, overflow="ellipsis")
        for cell in self._visible():
            rows.add_row(plain(str(cell)), self._state(cell))
        return Group(rows, bar)

    def _state(self, cell: CellKey) -> Text:
        result = self._results.get(cell)
        if result is None:
            stage = self._stages[cell]
            return Text(stage, style="dim" if stage == "queued" else "cyan")
        text = Text(result.status.value, style=STYLES[result.status])
        return text.append(plain(in_short(result).removeprefix(result.status.value)), style="dim")

    def _visible(self) -> list[CellKey]:
        """All cells, or as many as fit: those at work and those that broke before the others."""
        room = max(1, self._terminal.height - _RESERVED_LINES)
        cells = list(self._stages)
        if len(cells) <= room:
            return cells
        chosen = set(sorted(cells, key=self._interest)[:room])
        return [cell for cell in cells if cell in chosen]

    def _interest(self, cell: CellKey) -> int:
        result = self._results.get(cell)
        if result is None:
            return 2 if self._stages[cell] == "queued" else 0
        return 1 if result.status.is_bad else 3


def in_short(result: CellResult) -> str:
    """A finished cell in a few words."""
    if result.reason:
        return f"{result.status.value}: {result.reason}"
    answers = result.checks.get("answers")
    rate = result.speed.get("decode_tokens_per_second")
    facts = [f"{answers.brief} answers"] if answers else []
    facts += [f"{rate:.0f} tok/s"] if rate else []
    facts += [f"{result.seconds:.1f} s"]
    return f"{result.status.value}: {', '.join(facts)}"
