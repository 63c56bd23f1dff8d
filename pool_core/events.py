"""What long-running work reports: small frozen records, the same inside, in --json and over SSH.

Each event is one JSON line whose `t` names its type. A reader ignores types and fields it does
not know, so a newer pool can talk to an older `llorch`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from pool_core.errors import ExitCode, LlorchError, RemoteError


@dataclass(frozen=True, slots=True)
class Hello:
    """First line of `llorch-pool stdio`: who answers, and which protocol versions it speaks."""

    t: ClassVar[str] = "hello"
    proto: tuple[int, int]
    version: str
    python: str = ""
    os: str = ""
    arch: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a task is. `done` may go back when a transfer starts over; `total` 0 is unknown.

    `unit` is "B" (bytes), "%" (0 to 100) or a plural noun; `rate` is units a second.
    """

    t: ClassVar[str] = "progress"
    task: str
    done: float
    total: float
    unit: str = "B"
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class State:
    """A worker, download or other named thing changed state."""

    t: ClassVar[str] = "state"
    subject: str
    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Log:
    """A line somebody may want to read: from a log of a worker, or a note to the operator."""

    t: ClassVar[str] = "log"
    msg: str
    level: str = "info"
    source: str = ""


@dataclass(frozen=True, slots=True)
class Warning:
    """Something is not as it should be, and the work goes on."""

    t: ClassVar[str] = "warn"
    msg: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing happened, and the sender lives."""

    t: ClassVar[str] = "hb"


@dataclass(frozen=True, slots=True)
class Result:
    """Terminal: the work is done. `data` is what `--json` promises for the command."""

    t: ClassVar[str] = "result"
    ok: bool = True
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Error:
    """Terminal: the work failed."""

    t: ClassVar[str] = "error"
    code: str
    msg: str
    remedy: str | None = None
    exit: int = int(ExitCode.FAILED)
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, error: LlorchError) -> Error:
        return cls(error.code, error.message, error.remedy, int(error.exit_code), error.details)

    def to_exception(self) -> RemoteError:
        try:
            exit_code = ExitCode(self.exit)
        except ValueError:
            exit_code = ExitCode.FAILED
        error = RemoteError(self.code, self.msg, self.remedy, exit_code)
        error.details = self.details  # not as arguments: a stranger chose the names
        return error


Event = Hello | Progress | State | Log | Warning | Heartbeat | Result | Error

_TYPES: dict[str, type[Any]] = {
    kind.t: kind for kind in (Hello, Progress, State, Log, Warning, Heartbeat, Result, Error)
}


def to_dict(event: Event) -> dict[str, Any]:
    """The event as JSON values, its type first."""
    return {"t": event.t} | {f.name: getattr(event, f.name) for f in fields(event)}


def to_json(event: Event, **more: str) -> str:
    """One line, without its newline; non-ASCII is kept, control characters are escaped.

    `more` adds fields, such as the pool an event came from.
    """
    return json.dumps(to_dict(event) | more, ensure_ascii=False, separators=(",", ":"))


def from_dict(record: dict[str, Any]) -> Event | None:
    """The event in a decoded line; None for an unknown type.

    Raises ValueError when a known type lacks a field it needs.
    """
    kind = _TYPES.get(str(record.get("t")))
    if kind is None:
        return None
    known = {f.name for f in fields(kind)}
    values = {name: value for name, value in record.items() if name in known}
    if kind is Hello and isinstance(values.get("proto"), list):
        values["proto"] = tuple(values["proto"])
    try:
        event: Event = kind(**values)
    except TypeError as error:
        raise ValueError(f"bad {kind.t} event: {error}") from None
    return event


def from_json(line: str) -> Event | None:
    """Decode one line. None for an unknown type; ValueError for anything that is not an event."""
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError("an event is a JSON object")
    return from_dict(record)
