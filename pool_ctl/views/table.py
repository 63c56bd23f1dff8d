"""Tables that read well at any width, and the two kinds of view that commands have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from pool_core.wording import plain

Row = Mapping[str, Any]
Cell = str | Text

_GAP = 2
_LEAST_FOLDED = 24


@dataclass(frozen=True, slots=True)
class Column:
    """One column. When a terminal is too narrow, columns with the highest `drop` go first
    (0 never goes); one that may `fold` wraps its text."""

    title: str
    render: Callable[[Row], Cell]
    right: bool = False
    drop: int = 0
    fold: bool = False


def _no_note(row: Row) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class TableView:
    """Rows of `data[rows_key]`. A view over many pools puts a column before `columns`.

    `note` is what must be said of a row and is too long for a column; "" says nothing.
    """

    rows_key: str
    columns: tuple[Column, ...]
    empty: str = "nothing here"
    note: Callable[[Row], str] = _no_note

    def __call__(self, data: Row) -> Iterable[Any]:
        rows = data[self.rows_key]
        if not rows:
            yield Text(self.empty, style="dim")
            return
        yield FittedTable(self.columns, rows)
        if notes := list(filter(None, map(self.note, rows))):
            yield ""
            yield from (_text(note) for note in notes)


@dataclass(frozen=True, slots=True)
class TextView:
    """Whatever is no table: `render` yields lines or other renderables."""

    render: Callable[[Row], Iterable[Any]]

    def __call__(self, data: Row) -> Iterable[Any]:
        return self.render(data)


View = TableView | TextView


@dataclass(frozen=True, slots=True)
class FittedTable:
    """A table without lines that leaves out what matters least until it fits the terminal."""

    columns: Sequence[Column]
    rows: Sequence[Row]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        cells = [[_text(column.render(row)) for column in self.columns] for row in self.rows]
        widths = [self._width(index, cells) for index in range(len(self.columns))]
        kept = self._fit(widths, options.max_width)
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
        for column in (self.columns[index] for index in kept):
            table.add_column(
                column.title,
                justify="right" if column.right else "left",
                no_wrap=not column.fold,
                overflow="fold" if column.fold else "ellipsis",
            )
        for line in cells:
            table.add_row(*(line[index] for index in kept))
        yield Trimmed(table)

    def _width(self, index: int, cells: Sequence[Sequence[Text]]) -> int:
        """The least width at which this column reads well; 0 for one that is empty."""
        column = self.columns[index]
        widest = max(line[index].cell_len for line in cells)
        if widest == 0 and column.drop:
            return 0
        return max(len(column.title), min(widest, _LEAST_FOLDED) if column.fold else widest)

    def _fit(self, widths: Sequence[int], room: int) -> list[int]:
        """Which columns to show. An empty one that may go is never shown."""
        kept = [index for index, width in enumerate(widths) if width]
        while sum(widths[index] + _GAP for index in kept) - _GAP > room:
            worst = max(kept, key=lambda index: (self.columns[index].drop, index))
            if self.columns[worst].drop == 0:
                break
            kept.remove(worst)
        return kept


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A renderable without the blanks at the ends of its lines, for pipes and for pasting."""

    inner: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in console.render_lines(self.inner, options, pad=False):
            while line and not line[-1].text.rstrip():
                line.pop()
            if line:
                last = line.pop()
                line.append(Segment(last.text.rstrip(), last.style))
            yield from line
            yield Segment.line()


def facts(pairs: Iterable[tuple[str, Any]]) -> Trimmed:
    """'name  value' lines, the names aligned, empty values left out."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, _GAP, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, "", [], {}):
            table.add_row(name, _text(value if isinstance(value, Text) else str(value)))
    return Trimmed(table)


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(plain(cell))
