"""Tables as Markdown that also reads well on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Table:
    """Rows of text under a heading. `notes` are sentences that say how it was measured."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        assert len(cells) == len(self.columns), f"{len(cells)} cells in {self.title}"
        self.rows.append(cells)

    def to_markdown(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        rule = tuple("-" * max(3, width) for width in widths)
        lines = [_line(row, widths) for row in (self.columns, rule, *self.rows)]
        return "\n".join(lines) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(max(3, width)) for cell, width in zip(cells, widths, strict=True)]
    return "| " + " | ".join(padded) + " |"
