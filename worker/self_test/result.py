"""What a self-test tells as it goes: how far it is, what each check came to, and the end."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` requests are answered."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Check:
    """One circumstance and one kind of request.

    `max_delta` is in nats, and None where nothing was compared. Of `prompt_tokens`,
    `cached_tokens` were not computed again, and of these `restored_tokens` came from outside the
    context. `detail` is the first difference, or why the check was skipped.
    """

    name: str
    kind: str
    verdict: Verdict
    requests: int = 0
    tokens: int = 0
    max_delta: float | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    restored_tokens: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """The last word. `ok` unless a check failed."""

    ok: bool
    seconds: float


Report = Progress | Check | End


def to_dict(report: Report) -> dict[str, Any]:
    """As JSON values; `type` is "progress", "check" or "end". An infinite delta is 9999."""
    record = {"type": type(report).__name__.lower()} | asdict(report)
    if record.get("max_delta") is not None:
        record["max_delta"] = min(record["max_delta"], 9999.0)
    return record
