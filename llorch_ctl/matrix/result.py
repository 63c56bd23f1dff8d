"""The judged cell, as the reports keep it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from llorch_ctl.matrix.plan import CellKey
from llorch_ctl.matrix.trace import Token

CHECKS = ("load", "answers", "reproducible", "parity", "batched", "speed")


class Outcome(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"


class Status(StrEnum):
    """`error`: the worker did not load or was lost. `skipped`: the pool has no such backend."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    @property
    def is_bad(self) -> bool:
        return self in (Status.FAILED, Status.ERROR)


@dataclass(frozen=True, slots=True)
class Check:
    """One question about a cell, answered; `brief` is what a narrow table shows of it."""

    outcome: Outcome
    detail: str
    brief: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def skipped(cls, detail: str) -> Check:
        return cls(Outcome.SKIP, detail, "-")

    def to_dict(self) -> dict[str, Any]:
        record = {"outcome": self.outcome.value, "detail": self.detail, "brief": self.brief}
        return record | ({"facts": dict(self.facts)} if self.facts else {})

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Check:
        return cls(
            Outcome(record["outcome"]), record["detail"], record["brief"], record.get("facts", {})
        )


@dataclass(frozen=True, slots=True)
class CellResult:
    """A cell with its verdict. `reason` and `remedy` say why it did not pass, `traces` hold the
    first run of each close case, so that a later run can be compared with it."""

    cell: CellKey
    status: Status
    checks: Mapping[str, Check]
    reason: str = ""
    remedy: str = ""
    speed: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    worker: Mapping[str, Any] = field(default_factory=dict)
    traces: Mapping[str, tuple[Token, ...]] = field(default_factory=dict)
    started: str = ""
    finished: str = ""
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.cell.model,
            "backend": self.cell.backend,
            "pool": self.cell.pool,
            "status": self.status.value,
            "reason": self.reason,
            "remedy": self.remedy,
            "checks": {name: check.to_dict() for name, check in self.checks.items()},
            "speed": dict(self.speed),
            "machine": dict(self.machine),
            "worker": dict(self.worker),
            "traces": {name: [t.to_list() for t in trace] for name, trace in self.traces.items()},
            "started": self.started,
            "finished": self.finished,
            "seconds": round(self.seconds, 3),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> CellResult:
        """Raises KeyError, TypeError or ValueError for what is not a cell of a report."""
        return cls(
            cell=CellKey(record["model"], record["backend"], record["pool"]),
            status=Status(record["status"]),
            checks={name: Check.from_dict(check) for name, check in record["checks"].items()},
            reason=record["reason"],
            remedy=record["remedy"],
            speed=record["speed"],
            machine=record["machine"],
            worker=record["worker"],
            traces={
                name: tuple(Token.from_list(values) for values in trace)
                for name, trace in record["traces"].items()
            },
            started=record["started"],
            finished=record["finished"],
            seconds=record["seconds"],
        )


def count(results: Iterable[CellResult]) -> dict[str, int]:
    """How many cells ended how; every status is named, and `cells` is their sum."""
    found = Counter(result.status for result in results)
    return {"cells": found.total()} | {status.value: found[status] for status in Status}
