"""What `llorch` shows to a person: pools that work, and pools that have answered."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from llorch_ctl.fleet import Outcome, Phase
from llorch_ctl.inventory import Pool
from llorch_ctl.mirror import SOURCE, aimed_at, from_afar
from pool_core.events import Event, Log, Progress, Warning
from pool_core.live import human_bytes
from pool_core.wording import describe, plain
from pool_ctl.views import Column, FittedTable, TableView, View
from pool_ctl.views.cells import field as field_of

_BAR_WIDTH = 20
_WIDE = 90
_ROOM_FOR_CTRL_C = 3  # the terminal writes ^C after the last row; a full row would break in two
_MARKS = {Phase.OK: Text("ok", style="green"), Phase.FAILED: Text("failed", style="red")}


@dataclass(slots=True)
class _Row:
    """What is known of one pool while it works."""

    phase: Phase = Phase.CONNECTING
    text: str = ""
    progress: Progress | None = None
    since: float = field(default_factory=time.monotonic)

    def take(self, news: Event | Phase) -> None:
        if isinstance(news, Phase):
            self.phase, self.progress = news, None
        elif isinstance(news, Progress):
            self.progress, self.text = news, news.task
        elif line := describe(news):
            self.text, self.progress = line, None


class FleetView:
    """A live row for each pool on stderr, gone when it ends; notes scroll by above the rows."""

    def __init__(self, pools: Sequence[Pool]) -> None:
        self._rows = {pool.name: _Row() for pool in pools}
        self._spinner = Spinner("dots")
        console = Console(file=sys.stderr, highlight=False, emoji=False)
        self._live = Live(self, console=console, transient=True, refresh_per_second=8)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, pool: Pool, news: Event | Phase) -> None:
        """Warnings and log lines stay on the screen; the rest is only the pool's row."""
        if isinstance(news, Warning | Log):
            line = plain(f"[{pool.name}] {describe(news)}")
            self._live.console.print(line, markup=False, style="dim")
        else:
            self._rows[pool.name].take(news)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = self._most_telling(options.max_height - 1 if options.max_height else 40)
        width = max(20, options.max_width - _ROOM_FOR_CTRL_C)
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.width = width
        grid.add_column(no_wrap=True, style="bold")
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
        grid.add_column(no_wrap=True, justify="right", style="cyan")
        for name in shown:
            grid.add_row(Text(plain(name)), *self._cells(self._rows[name], width))
        yield grid
        if len(shown) < len(self._rows):
            yield Text(f"… and {len(self._rows) - len(shown)} more pools", style="dim")

    def _most_telling(self, room: int) -> list[str]:
        """All pools, or, where they do not fit, those that still work before the others."""
        names = list(self._rows)
        if len(names) <= room:
            return names
        busy = sorted(names, key=lambda name: self._rows[name].phase in _MARKS)
        return busy[: max(1, room - 1)]

    def _cells(
        self, row: _Row, width: int
    ) -> tuple[RenderableType, RenderableType, RenderableType]:
        mark: RenderableType = _MARKS.get(row.phase, self._spinner)
        if row.phase in _MARKS:
            return mark, Text(), Text()
        progress = row.progress
        if progress is None:
            waited = time.monotonic() - row.since
            text = plain(row.text) or row.phase.value
            return mark, Text(text, style="dim"), Text(f"{waited:.0f} s" if waited >= 2 else "")
        left = time_left(progress) if width >= _WIDE else ""
        return mark, _Bar(progress), Text(f"{amount(progress)}{left}")


@dataclass(frozen=True, slots=True)
class _Bar:
    """The task's name and its bar, on one line."""

    progress: Progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
        grid.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
        grid.add_column(width=min(_BAR_WIDTH, max(8, options.max_width // 3)))
        total = self.progress.total or None
        bar = ProgressBar(total=total, completed=self.progress.done, pulse=total is None)
        grid.add_row(Text(plain(self.progress.task)), bar)
        yield grid


def amount(progress: Progress) -> str:
    """'43%', '12.3 MB/200.0 MB 1.2 MB/s' or '7/8 cells'."""
    if progress.unit == "%":
        return f"{progress.done:.0f}%"
    if progress.unit != "B":
        total = f"/{progress.total:g}" if progress.total else ""
        return f"{progress.done:g}{total} {plain(progress.unit)}"
    text = human_bytes(progress.done)
    if progress.total:
        text += f"/{human_bytes(progress.total)}"
    return text + (f" {human_bytes(progress.rate)}/s" if progress.rate else "")


def time_left(progress: Progress) -> str:
    """' 1:05' while it can be told, else ''."""
    if not progress.rate or progress.done >= progress.total:
        return ""
    minutes, seconds = divmod(int((progress.total - progress.done) / progress.rate), 60)
    return f" {minutes}:{seconds:02d}"


def answers_view(view: View, outcomes: Sequence[Outcome]) -> Iterable[Any]:
    """The answers of several pools: one table with a column POOL, or a section for each pool."""
    answered = [
        (outcome.pool, neutral(outcome.answer.data)) for outcome in outcomes if outcome.answer
    ]
    if isinstance(view, TableView):
        rows = [{"pool": pool.name} | row for pool, data in answered for row in data[view.rows_key]]
        if rows:
            columns = (Column("POOL", field_of("pool")), *view.columns)
            yield from replace(view, columns=columns)({view.rows_key: rows})
        elif answered:
            yield Text(from_afar(view.empty), style="dim")
        return
    for number, (pool, data) in enumerate(answered):
        if number:
            yield Text()
        yield Text(plain(pool.name), style="bold")
        yield from _from_pool(view(data), pool)


def answer_view(view: View, outcome: Outcome) -> Iterable[Any]:
    """One pool's answer, as `llorch-pool` shows it there."""
    shown = view(neutral(outcome.answer.data)) if outcome.answer else ()
    return _from_pool(shown, outcome.pool)


def _from_pool(shown: Iterable[Any], pool: Pool) -> Iterable[Any]:
    """Lines that name a command of llorch-pool, made to be typed here."""
    for item in shown:
        if isinstance(item, Text) and SOURCE in item.plain:
            yield Text(aimed_at(item.plain, pool), style=item.style)
        else:
            yield item


def neutral(value: Any) -> Any:
    """Data of a pool with every control character in it shown instead of obeyed."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, Mapping):
        return {plain(str(key)): neutral(item) for key, item in value.items()}
    if isinstance(value, list):
        return [neutral(item) for item in value]
    return value


def pools_view(data: Mapping[str, Any]) -> Iterable[Any]:
    """The inventory as a table; columns that say nothing are left out."""
    columns = (
        Column("POOL", field_of("name")),
        Column("SSH", field_of("ssh")),
        Column("LABELS", lambda row: " ".join(row["labels"]), drop=1),
        Column("GROUPS", lambda row: " ".join(row["groups"]), drop=2),
        Column("KEY", field_of("identity_file"), drop=3),
        Column("JUMP", field_of("proxy_jump"), drop=4),
    )
    rows = data["pools"]
    telling = [column for column in columns if any(_says(column, row) for row in rows)]
    yield FittedTable(telling, rows)


def _says(column: Column, row: Mapping[str, Any]) -> bool:
    return str(column.render(row)) not in ("", "-")
