"""A pool reached by SSH: one connection, made when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

from llorch_ctl.client import AgentCall
from llorch_ctl.errors import Lost
from llorch_ctl.inventory import Pool
from llorch_ctl.ssh.command import start_command
from llorch_ctl.ssh.connection import Connection
from llorch_ctl.ssh.handshake import Timeouts
from llorch_ctl.ssh.hostkeys import HostKeyPolicy
from llorch_ctl.ssh.resolve import resolve_route
from llorch_ctl.ssh.transfer import put
from llorch_ctl.transport import NO_SECRETS, Answer, Tunnel, data_of
from llorch_ctl.tunnel import ForwardServer
from pool_core.events import Event
from pool_core.home import Home


class RemoteTransport:
    """Transport over SSH."""

    def __init__(self, pool: Pool, home: Home, timeouts: Timeouts | None = None) -> None:
        self.name = pool.name
        self._pool = pool
        self._home = home
        self._timeouts = timeouts or Timeouts(connect=pool.connect_timeout)
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._is_closed = False

    def connect(self) -> Connection:
        """The connection, made now if there is none. Raises a PoolError."""
        with self._lock:
            if self._is_closed:
                raise Lost(self.name, "connection closed")
            if self._connection is None:
                self._connection = self._make_connection().__enter__()
                if self._is_closed:  # while we were busy
                    self._connection.close()
                    raise Lost(self.name, "connection closed")
            return self._connection

    def _make_connection(self) -> Connection:
        policy = HostKeyPolicy(self._pool, self._home.known_hosts)
        return Connection(self.name, resolve_route(self._pool), policy, self._timeouts)

    def request(
        self,
        argv: Sequence[str],
        *,
        secrets: Mapping[str, str] = NO_SECRETS,
        cancel: threading.Event | None = None,
    ) -> Generator[Event, None, Answer]:
        pipe = self.connect().start(start_command(self._pool.command))
        return (yield from AgentCall(self.name, pipe).run(argv, secrets, cancel))

    def call(
        self,
        argv: Sequence[str],
        *,
        secrets: Mapping[str, str] = NO_SECRETS,
        cancel: threading.Event | None = None,
    ) -> Generator[Event, None, dict[str, Any]]:
        return data_of(self.request(argv, secrets=secrets, cancel=cancel))

    def put(self, local: Path, remote: PurePosixPath) -> None:
        put(self.connect(), local, remote)

    def open_port(self, remote_port: int) -> AbstractContextManager[Tunnel]:
        return self.forward(remote_port, 0)

    @contextmanager
    def forward(self, remote_port: int, local_port: int) -> Iterator[Tunnel]:
        connection = self.connect()
        connection.reach(remote_port).close()  # an early and clear refusal, if it is one
        dial = partial(connection.reach, remote_port)
        with ForwardServer(self.name, dial, local_port) as server:
            yield server

    def wait_lost(self, timeout: float) -> Lost | None:
        return self.connect().wait_lost(timeout)

    def close(self) -> None:
        self._is_closed = True
        connection = self._connection
        if connection is not None:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
