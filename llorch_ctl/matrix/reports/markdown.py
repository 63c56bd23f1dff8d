"""MODEL_SUPPORT.md: which model works where, for people who read it on a code host."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from llorch_ctl.matrix.reports.report import Report
from llorch_ctl.matrix.result import CellResult, Status, count

_MARKS = {
    Status.PASSED: "✅",
    Status.FAILED: "❌",
    Status.ERROR: "💥",
    Status.CANCELLED: "⏹️",
    Status.SKIPPED: "➖",
}
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def to_markdown(report: Report) -> str:
    """The support table, what failed and why, and what it ran on."""
    totals = count(report.cells)
    lines = [
        "# Model support",
        "",
        f"{totals['passed']} of {totals['cells']} cells passed, {escape(report.finished)},"
        f" llorch {escape(report.llorch)} on {escape(str(report.host.get('name', '')))}.",
        "",
        *_support(report.cells),
        *_failures(report.cells),
        *_details(report.cells),
        *_machines(report.cells),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _support(cells: Sequence[CellResult]) -> list[str]:
    places = list(dict.fromkeys((c.cell.backend, c.cell.pool) for c in cells))
    models = list(dict.fromkeys(c.cell.model for c in cells))
    found = {(c.cell.model, c.cell.backend, c.cell.pool): c for c in cells}
    heads = ["Model", *(f"{escape(backend)} on {escape(pool)}" for backend, pool in places)]
    rows = [
        [escape(model), *(_mark(found.get((model, *place))) for place in places)]
        for model in models
    ]
    return [*_table(heads, rows), ""]


def _mark(cell: CellResult | None) -> str:
    if cell is None:
        return ""
    answers = cell.checks.get("answers")
    rate = cell.speed.get("decode_tokens_per_second")
    parts = [f"{_MARKS[cell.status]} {cell.status.value}"]
    parts += [f"{answers.brief} answers"] if answers else []
    parts += [f"{rate:.0f} tok/s"] if rate else []
    return ", ".join(parts)


def _failures(cells: Iterable[CellResult]) -> list[str]:
    lines = []
    for cell in cells:
        if cell.status is not Status.PASSED:
            then = f" Next: {escape(cell.remedy)}." if cell.remedy else ""
            name = f"**{escape(str(cell.cell))}** {cell.status.value}"
            lines.append(f"- {name}: {escape(cell.reason)}.{then}")
    return ["## What did not pass", "", *lines, ""] if lines else []


def _details(cells: Iterable[CellResult]) -> list[str]:
    heads = ["Model", "Backend", "Pool", "Check", "Outcome", "Detail"]
    rows = [
        [
            escape(cell.cell.model),
            escape(cell.cell.backend),
            escape(cell.cell.pool),
            name,
            check.outcome.value,
            escape(check.detail),
        ]
        for cell in cells
        for name, check in cell.checks.items()
    ]
    return ["## Checks", "", *_table(heads, rows), ""] if rows else []


def _machines(cells: Iterable[CellResult]) -> list[str]:
    rows = {
        (cell.cell.pool, cell.cell.backend): [
            escape(cell.cell.pool),
            escape(cell.cell.backend),
            *(
                escape(str(cell.machine.get(key, "")))
                for key in ("name", "system", "device", "build", "llorch")
            ),
        ]
        for cell in cells
        if cell.machine
    }
    heads = ["Pool", "Backend", "Machine", "System", "Device", "Build", "llorch"]
    return ["## Machines", "", *_table(heads, rows.values())] if rows else []


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def escape(text: str) -> str:
    """Any text as one cell of a Markdown table: nothing in it is markup, nothing breaks the row."""
    flat = "".join(char if char.isprintable() else " " for char in text)
    return _SPECIAL.sub(r"\\\1", flat)
