"""The conversation of `llorch` and `llorch-pool stdio`: one request in, JSON lines of events out.

The client writes a request line, then operations; its stdin is the lease of the work. The server
writes a `hello`, then events, and exactly one `result` or `error`. See .specs/protocol.md.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pool_core import __version__
from pool_core.errors import ExitCode, LlorchError
from pool_core.events import Event, Hello, Progress

PROTOCOL = (1, 1)
MAX_LINE_BYTES = 256 * 1024
HEARTBEAT_S = 2.0
CLIENT_SILENCE_S = 30.0
SERVER_SILENCE_S = 15.0
PROGRESS_EVERY_S = 0.1


class ProtocolError(LlorchError):
    """The other side said something that is not of this protocol."""

    code = "E_PROTOCOL"


class VersionSkew(LlorchError):
    """The two sides speak protocols that do not overlap."""

    code = "E_VERSION"
    exit_code = ExitCode.VERSION


class Op(StrEnum):
    """What a client may say after its request."""

    HEARTBEAT = "hb"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Request:
    """One command for a pool. `argv` arrives byte for byte: no shell ever sees it.

    `id` is the client's name for the request, for logs. `secrets` never enter argv, environment
    or logs.
    """

    argv: tuple[str, ...]
    id: str = ""
    client: str = __version__
    version: int = PROTOCOL[1]
    opts: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)

    def to_json(self) -> str:
        record = {
            "v": self.version,
            "id": self.id,
            "client": self.client,
            "argv": list(self.argv),
            "opts": self.opts,
            "secrets": self.secrets,
        }
        return json.dumps(record, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str | bytes) -> Request:
        """Raises VersionSkew before it looks at anything else, and ProtocolError."""
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ProtocolError(f"the request is not JSON: {error}") from None
        if not isinstance(record, dict) or not isinstance(record.get("v"), int):
            raise ProtocolError('the request is not an object with a version "v"')
        check_version(record["v"], str(record.get("client", "?")))
        return cls(
            argv=_strings(record, "argv"),
            id=str(record.get("id", "")),
            client=str(record.get("client", "")),
            version=record["v"],
            opts=_mapping(record, "opts"),
            secrets={name: str(value) for name, value in _mapping(record, "secrets").items()},
        )


def check_version(wanted: int, client: str) -> None:
    """Raises VersionSkew unless this side speaks protocol `wanted`."""
    low, high = PROTOCOL
    if not low <= wanted <= high:
        raise VersionSkew(
            f"this pool (llorch {__version__}) speaks protocol {low} to {high}, "
            f"the client ({client}) protocol {wanted}",
            "upgrade the older of the two",
            proto=list(PROTOCOL),
            version=__version__,
        )


def hello() -> Hello:
    """Who this process is."""
    return Hello(
        proto=PROTOCOL,
        version=__version__,
        python=platform.python_version(),
        os=sys.platform,
        arch=platform.machine(),
    )


def op_line(op: Op) -> str:
    return json.dumps({"op": op.value}, separators=(",", ":"))


def parse_op(line: str | bytes) -> Op | None:
    """The operation in a line; None for one that this version does not know.

    Raises ProtocolError for a line that is no operation at all.
    """
    try:
        record = json.loads(line)
        name = record["op"]
    except (ValueError, TypeError, KeyError):
        raise ProtocolError("expected an operation, a JSON object with an `op`") from None
    return Op(name) if name in set(Op) else None


class ProgressThrottle:
    """Lets at most ten progress events a second of each task through.

    The newest of what is held back goes out before anything else is said, a heartbeat at the
    latest, so nobody looks at an old number for long.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sent: dict[str, float] = {}
        self._held: dict[str, Progress] = {}

    def pass_through(self, event: Event) -> list[Event]:
        """What to write now that `event` has come."""
        if not isinstance(event, Progress):
            held = list(self._held.values())
            self._held.clear()
            return [*held, event]
        now = self._clock()
        finished = bool(event.total) and event.done >= event.total
        if not finished and now - self._sent.get(event.task, -PROGRESS_EVERY_S) < PROGRESS_EVERY_S:
            self._held[event.task] = event
            return []
        self._held.pop(event.task, None)
        self._sent[event.task] = now
        return [event]


def _strings(record: dict[str, Any], key: str) -> tuple[str, ...]:
    value = record.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ProtocolError(f'"{key}" of the request is not a list of strings')
    return tuple(value)


def _mapping(record: dict[str, Any], key: str) -> dict[str, Any]:
    value = record.get(key, {})
    if not isinstance(value, dict):
        raise ProtocolError(f'"{key}" of the request is not an object')
    return value
