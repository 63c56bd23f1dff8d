"""What a run tells while it goes on; the screen and `--json` show the same."""

from __future__ import annotations

from dataclasses import dataclass

from llorch_ctl.matrix.plan import CellKey
from llorch_ctl.matrix.result import CellResult


@dataclass(frozen=True, slots=True)
class StageChanged:
    """A cell went on: loading, answers, again, company, batched, speed… `total` 0: no measure."""

    cell: CellKey
    stage: str
    done: float = 0
    total: float = 0

    @property
    def text(self) -> str:
        if not self.total:
            return self.stage
        if self.stage in ("loading", "downloading"):
            return f"{self.stage} {100 * self.done / self.total:.0f} %"
        return f"{self.stage} {self.done:g}/{self.total:g}"


@dataclass(frozen=True, slots=True)
class CellFinished:
    """A verdict fell. `is_earlier`: it is taken over from the run that is resumed."""

    result: CellResult
    is_earlier: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the operator."""

    text: str


Happening = StageChanged | CellFinished | Note
