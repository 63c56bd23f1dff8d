"""What every way to a pool can do. `local` and `ssh` are the two implementations."""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Protocol, Self

from llorch_ctl.errors import Lost
from pool_core.errors import ExitCode
from pool_core.events import Event

NO_SECRETS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command ended on the pool. `ok` False is an answer too: an unhealthy pool, say."""

    data: dict[str, Any] = field(default_factory=dict)
    ok: bool = True
    exit_code: ExitCode = ExitCode.OK


class Tunnel(Protocol):
    """A port of a pool, reachable here."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def url(self) -> str: ...


class Transport(Protocol):
    """One pool for the length of one command; a context manager.

    Connects at the first use and at most once. Calls may run in several threads at once.
    Everything here raises a PoolError of llorch_ctl.errors; what `llorch-pool` itself reports
    is raised as RemoteError.
    """

    name: str

    def connect(self) -> object:
        """Connect now rather than at the first use."""
        ...

    def request(
        self,
        argv: Sequence[str],
        *,
        secrets: Mapping[str, str] = NO_SECRETS,
        cancel: threading.Event | None = None,
    ) -> Generator[Event, None, Answer]:
        """Run `llorch-pool ARGV`: yields its events, returns its answer.

        Setting `cancel` asks the pool to stop; it has five seconds to say how that went, then
        Cancelled is raised. Closing the generator cancels too.
        """
        ...

    def call(
        self,
        argv: Sequence[str],
        *,
        secrets: Mapping[str, str] = NO_SECRETS,
        cancel: threading.Event | None = None,
    ) -> Generator[Event, None, dict[str, Any]]:
        """`request`, for callers who want only the data of the answer."""
        ...

    def put(self, local: Path, remote: PurePosixPath) -> None:
        """Copy a file to the pool, whole or not at all; replaces what is there."""
        ...

    def open_port(self, remote_port: int) -> AbstractContextManager[Tunnel]:
        """Reach 127.0.0.1:`remote_port` of the pool from here."""
        ...

    def forward(self, remote_port: int, local_port: int) -> AbstractContextManager[Tunnel]:
        """`open_port` that listens on a given port of this machine; 0 takes a free one."""
        ...

    def wait_lost(self, timeout: float) -> Lost | None:
        """Wait up to `timeout` seconds for an open connection to break; None if it holds."""
        ...

    def close(self) -> None:
        """Hang up. Calls that still run end with Lost. May be called from any thread."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def data_of(work: Generator[Event, None, Answer]) -> Generator[Event, None, dict[str, Any]]:
    """`call` in terms of `request`."""
    answer = yield from work
    return answer.data
