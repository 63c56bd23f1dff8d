"""The report itself: what all the files are made from, and what `--resume` reads back."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from llorch_ctl.matrix.plan import CellKey, Plan
from llorch_ctl.matrix.result import CellResult, Outcome, Status, count
from pool_core.errors import ConfigError
from pool_core.files import clear_os_errors

SCHEMA = 1


def now() -> str:
    """This moment in UTC, as every report writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class Report:
    """A run so far. Cells keep the order of the plan, whatever order they finish in."""

    matrix: Mapping[str, Any]
    order: Sequence[CellKey]
    host: Mapping[str, Any]
    llorch: str
    started: str
    finished: str = ""
    results: dict[CellKey, CellResult] = field(default_factory=dict)

    @classmethod
    def begin(cls, plan: Plan) -> Self:
        matrix = plan.matrix.model_dump(mode="json", by_alias=True, exclude_none=True)
        matrix |= {"pools": list(plan.lanes), "digest": plan.matrix.digest}
        host = {"name": platform.node(), "os": platform.system(), "arch": platform.machine()}
        return cls(matrix, plan.cells, host, version("llorch"), now())

    @property
    def cells(self) -> list[CellResult]:
        return [self.results[key] for key in self.order if key in self.results]

    @property
    def bad(self) -> list[CellResult]:
        return [cell for cell in self.cells if cell.status.is_bad]

    @property
    def digest(self) -> str:
        return str(self.matrix.get("digest", ""))

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "llorch": self.llorch,
            "started": self.started,
            "finished": self.finished,
            "host": dict(self.host),
            "matrix": dict(self.matrix),
            "cells": [cell.to_dict() for cell in self.cells],
            "totals": count(self.cells),
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for what is not a report."""
        if record["schema"] != SCHEMA:
            raise ValueError(f"schema {record['schema']}, expected {SCHEMA}")
        cells = [CellResult.from_dict(cell) for cell in record["cells"]]
        return cls(
            matrix=record["matrix"],
            order=[cell.cell for cell in cells],
            host=record["host"],
            llorch=record["llorch"],
            started=record["started"],
            finished=record["finished"],
            results={cell.cell: cell for cell in cells},
        )


def read_report(path: Path) -> Report:
    """Raises ConfigError naming the file when it is absent or no report of ours."""
    if not path.is_file():
        raise ConfigError(f"no report at {path}", "name the folder given to --output")
    with clear_os_errors(path):
        data = path.read_bytes()
    try:
        return Report.from_dict(json.loads(data))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ConfigError(
            f"{path}: not a matrix report: {what}", "choose another --output"
        ) from None


def reusable(earlier: Report, plan: Plan) -> dict[CellKey, CellResult]:
    """The cells that need not run again: passed, and asked the same by the same llorch.

    One that was compared with nothing, though the plan has its baseline, is no such cell.
    """
    if earlier.digest != plan.matrix.digest or earlier.llorch != version("llorch"):
        return {}
    wanted = set(plan.cells)
    return {
        cell.cell: cell
        for cell in earlier.cells
        if cell.cell in wanted
        and cell.status is Status.PASSED
        and (cell.checks["parity"].outcome is Outcome.PASS or not plan.baselines(cell.cell))
    }
