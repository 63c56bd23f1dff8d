"""How a report and a plan look on a terminal: as many columns as its width allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from llorch_ctl.matrix.plan import Plan
from llorch_ctl.matrix.reports.report import Report
from llorch_ctl.matrix.result import CellResult, Outcome, Status, count
from pool_core.console import plain
from pool_core.live import human_bytes

STYLES = {
    Status.PASSED: "green",
    Status.FAILED: "red",
    Status.ERROR: "red",
    Status.CANCELLED: "yellow",
    Status.SKIPPED: "dim",
}
_PADDING = 2


@dataclass(frozen=True, slots=True)
class Column:
    """`rank` 0 always stays; of the others the highest goes first when room is short."""

    title: str
    render: Callable[[CellResult], Text]
    rank: int = 0
    right: bool = False


def _name(part: str) -> Callable[[CellResult], Text]:
    return lambda cell: Text(plain(getattr(cell.cell, part)))


def _check(name: str) -> Callable[[CellResult], Text]:
    def render(cell: CellResult) -> Text:
        check = cell.checks.get(name)
        if check is None:
            return Text("")
        text = check.brief or ("ok" if check.outcome is Outcome.PASS else check.outcome.value)
        return Text(plain(text), style="red" if check.outcome is Outcome.FAIL else "")

    return render


def _speed(name: str, show: Callable[[float], str]) -> Callable[[CellResult], Text]:
    def render(cell: CellResult) -> Text:
        value = cell.speed.get(name)
        return Text("" if value is None else show(value))

    return render


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _verdict(cell: CellResult) -> Text:
    return Text(cell.status.value, style=STYLES[cell.status])


COLUMNS = (
    Column("MODEL", _name("model")),
    Column("BACKEND", _name("backend")),
    Column("POOL", _name("pool")),
    Column("LOAD", _speed("load_seconds", lambda s: f"{s:.1f} s"), rank=3, right=True),
    Column("ANSWERS", _check("answers"), right=True),
    Column("REPRO", _check("reproducible")),
    Column("PARITY", _check("parity")),
    Column("BATCH", _check("batched")),
    Column("TTFT", _speed("ttft_ms", lambda ms: f"{ms:.0f} ms"), rank=2, right=True),
    Column("TOK/S", _speed("decode_tokens_per_second", _rate), rank=1, right=True),
    Column("PREFILL/S", _speed("prefill_tokens_per_second", _rate), rank=5, right=True),
    Column("MEMORY", _speed("rss_bytes", human_bytes), rank=4, right=True),
    Column("VERDICT", _verdict),
)


class CellTable:
    """The cells of a report; a rich renderable that looks at the width it is given."""

    def __init__(self, cells: Sequence[CellResult]) -> None:
        self._cells = cells

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = self._fitting(options.max_width)
        table = Table(box=None, padding=(0, _PADDING, 0, 0), pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(
                column.title, justify="right" if column.right else "left", no_wrap=True
            )
        for cell in self._cells:
            table.add_row(*(column.render(cell) for column in columns))
        yield table

    def _fitting(self, width: int) -> list[Column]:
        pools = {cell.cell.pool for cell in self._cells}
        columns = [c for c in COLUMNS if c.title != "POOL" or len(pools) > 1 or width >= 100]
        sizes = {column.title: self._size(column) for column in columns}
        while sum(sizes[c.title] + _PADDING for c in columns) - _PADDING > width:
            droppable = [column for column in columns if column.rank]
            if not droppable:
                break
            columns.remove(max(droppable, key=lambda column: column.rank))
        return columns

    def _size(self, column: Column) -> int:
        shown = (column.render(cell).plain for cell in self._cells)
        return max(map(cell_len, (column.title, *shown)))


def report_view(report: Report) -> Iterator[Table | Text | CellTable]:
    """The table, then a line on each cell that did not pass and what to do about it."""
    yield CellTable(report.cells)
    for cell in report.cells:
        if cell.status in (Status.FAILED, Status.ERROR, Status.SKIPPED):
            yield why(cell)
    yield Text()
    yield totals_line(report)


def why(cell: CellResult) -> Text:
    """Why a cell did not pass, and the next step."""
    line = Text(plain(str(cell.cell)), style="bold")
    line.append(f" {cell.status.value}: ", style=STYLES[cell.status])
    line.append(plain(cell.reason), style="not bold")
    if cell.remedy:
        line.append(plain(f"; {cell.remedy}"), style="not bold dim")
    return line


def totals_line(report: Report) -> Text:
    """'7 of 8 cells passed, 1 failed'."""
    totals = count(report.cells)
    others = [
        f"{totals[status]} {status.value}"
        for status in Status
        if status is not Status.PASSED and totals[status]
    ]
    text = ", ".join([f"{totals['passed']} of {totals['cells']} cells passed", *others])
    return Text(text, style="bold red" if report.bad else "bold")


def plan_view(plan: Plan) -> Iterator[Table | Text]:
    """What would run: cells by pool, then the cases."""
    cells = Table(box=None, padding=(0, _PADDING, 0, 0), pad_edge=False, header_style="bold")
    for title in ("MODEL", "BACKEND", "POOL", "COMPARED WITH"):
        cells.add_column(title)
    for cell in plan.cells:
        others = ", ".join(f"{key.backend} on {key.pool}" for key in plan.baselines(cell))
        cells.add_row(*map(plain, (cell.model, cell.backend, cell.pool, others or "–")))
    yield cells
    yield Text()
    cases = Table(box=None, padding=(0, _PADDING, 0, 0), pad_edge=False, header_style="bold")
    for title in ("CASE", "MODE", "ASKS", "CHECKS"):
        cases.add_column(title)
    for case in plan.matrix.cases:
        asked = case.prompt or case.messages[-1].content
        checks = [
            name
            for name, wanted in (
                ("contains", case.contains),
                ("equals", case.equals),
                ("regex", case.regex),
                ("json", case.members),
            )
            if wanted not in (None, (), False)
        ]
        cases.add_row(*map(plain, (case.name, case.mode, asked, ", ".join(checks) or "any answer")))
    yield cases
