"""report.html: one file to open or to send, with everything in it."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from llorch_ctl.matrix.reports.report import Report
from llorch_ctl.matrix.result import CellResult, count

if TYPE_CHECKING:
    from jinja2 import Template


def to_html(report: Report) -> str:
    """A page without scripts or outside assets, readable in light and in dark."""
    return _template().render(_facts(report)) + "\n"


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined  # only a finished run needs it

    source = files("llorch_ctl.matrix.reports").joinpath("report.html.j2").read_text("utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["mb"] = lambda size: f"{size / 1e6:,.0f} MB"
    return environment.from_string(source)


def _facts(report: Report) -> dict[str, Any]:
    cells = report.cells
    rates = [rate for cell in cells if (rate := cell.speed.get("decode_tokens_per_second"))]
    return {
        "report": report,
        "totals": count(cells),
        "cells": cells,
        "models": list(dict.fromkeys(cell.cell.model for cell in cells)),
        "places": list(dict.fromkeys((cell.cell.backend, cell.cell.pool) for cell in cells)),
        "found": {(c.cell.model, c.cell.backend, c.cell.pool): c for c in cells},
        "fastest": max(rates, default=1.0),
        "machines": _machines(cells),
    }


def _machines(cells: list[CellResult]) -> list[dict[str, Any]]:
    seen: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in cells:
        place = {"pool": cell.cell.pool, "backend": cell.cell.backend}
        if cell.machine:
            seen.setdefault((cell.cell.pool, cell.cell.backend), place | dict(cell.machine))
    return list(seen.values())
