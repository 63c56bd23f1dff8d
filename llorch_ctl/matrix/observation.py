"""What was seen in one cell, before anybody judges it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llorch_ctl.matrix.plan import CellKey
from llorch_ctl.matrix.trace import Answer


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a cell or a request came to nothing, and what to do about it."""

    message: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


@dataclass(frozen=True, slots=True)
class SpeedFacts:
    """Medians of the timed runs; None where it could not be measured. Seconds, tokens a second."""

    first_token_s: float | None = None
    decode_per_s: float | None = None
    prefill_per_s: float | None = None
    prompt_tokens: int | None = None
    fault: str = ""


@dataclass(slots=True)
class Observation:
    """Filled by the one thread that runs the cell, then handed over and not changed again.

    `runs` are the reproducible answers of the close cases: all but the last were asked alone,
    that one in company. `together` are all cases asked at once, free to share batches. `faults`
    are requests that failed, by case. `error` ends a cell: the worker could not be started, or
    was lost; without it the cell was completed. `is_absent`: the machine cannot have the backend.
    """

    cell: CellKey
    worker: Mapping[str, Any] = field(default_factory=dict)
    health: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    runs: dict[str, list[Answer]] = field(default_factory=dict)
    together: dict[str, list[Answer]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    speed: SpeedFacts | None = None
    rss_bytes: int | None = None
    load_s: float | None = None
    error: Fault | None = None
    is_loaded: bool = False
    is_cancelled: bool = False
    is_absent: bool = False
    started: str = ""
    finished: str = ""
    seconds: float = 0.0
