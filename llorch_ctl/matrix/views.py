"""How a report and a plan look on a terminal: as many columns as its width allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.text import Text

from llorch_ctl.matrix.plan import Plan
from llorch_ctl.matrix.reports.report import Report
from llorch_ctl.matrix.result import CellResult, Outcome, Status, count
from pool_core.live import human_bytes
from pool_core.wording import plain
from pool_ctl.views.cells import field
from pool_ctl.views.table import Column, FittedTable, Row

STYLES: dict[str, str] = {
    Status.PASSED: "green",
    Status.FAILED: "red",
    Status.ERROR: "red",
    Status.CANCELLED: "yellow",
    Status.SKIPPED: "dim",
}


def _check(name: str) -> Callable[[Row], Text]:
    def render(row: Row) -> Text:
        check = row["checks"].get(name)
        if check is None:
            return Text()
        is_failed = check["outcome"] == Outcome.FAIL
        return Text(plain(check["brief"] or check["outcome"]), style="red" if is_failed else "")

    return render


def _speed(name: str, show: Callable[[float], str]) -> Callable[[Row], str]:
    return lambda row: show(row["speed"][name]) if name in row["speed"] else ""


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _verdict(row: Row) -> Text:
    return Text(row["status"], style=STYLES[row["status"]])


def cell_table(cells: Sequence[CellResult]) -> FittedTable:
    """One row a cell; on a narrow terminal answers and verdicts stay, speed goes."""
    has_pools = len({cell.cell.pool for cell in cells}) > 1
    columns = (
        Column("MODEL", field("model")),
        Column("BACKEND", field("backend")),
        Column("POOL", field("pool"), drop=0 if has_pools else 6),
        Column("LOAD", _speed("load_seconds", lambda s: f"{s:.1f} s"), right=True, drop=3),
        Column("ANSWERS", _check("answers"), right=True),
        Column("REPRO", _check("reproducible")),
        Column("PARITY", _check("parity")),
        Column("BATCH", _check("batched")),
        Column("TTFT", _speed("ttft_ms", lambda ms: f"{ms:.0f} ms"), right=True, drop=2),
        Column("TOK/S", _speed("decode_tokens_per_second", _rate), right=True, drop=1),
        Column("PREFILL/S", _speed("prefill_tokens_per_second", _rate), right=True, drop=5),
        Column("MEMORY", _speed("rss_bytes", human_bytes), right=True, drop=4),
        Column("VERDICT", _verdict),
    )
    return FittedTable(columns, [cell.to_dict() for cell in cells])


def report_view(report: Report) -> Iterator[FittedTable | Text]:
    """The table, then a line on each cell that did not pass and what to do about it."""
    if report.cells:
        yield cell_table(report.cells)
    yield Text()
    noted = [c for c in report.cells if c.status not in (Status.PASSED, Status.CANCELLED)]
    if noted:
        yield from map(why, noted)
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


def plan_view(plan: Plan) -> Iterator[FittedTable | Text]:
    """What would run: cells by pool, then the cases."""
    record = plan.to_dict()
    yield FittedTable(_PLANNED_CELL, record["cells"])
    yield Text()
    yield FittedTable(_PLANNED_CASE, record["cases"])


def _asked(row: Row) -> str:
    return str(row["prompt"] or row["messages"][-1]["content"])


def _checks(row: Row) -> str:
    names = ("contains", "equals", "regex", "json")
    return ", ".join(name for name in names if row[name]) or "any answer"


_PLANNED_CELL = (
    Column("MODEL", field("model")),
    Column("BACKEND", field("backend")),
    Column("POOL", field("pool")),
    Column("COMPARED WITH", lambda row: ", ".join(row["baselines"]) or "-", fold=True),
)
_PLANNED_CASE = (
    Column("CASE", field("name")),
    Column("MODE", field("mode")),
    Column("ASKS", _asked, fold=True),
    Column("CHECKS", _checks),
)
