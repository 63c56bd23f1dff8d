"""One SSH connection to a pool, through its jump hosts; everything to that pool runs over it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Self

import paramiko

from llorch_ctl.errors import ForwardRefused, Lost, NoSessions
from llorch_ctl.ssh.auth import log_in
from llorch_ctl.ssh.channel import ChannelPipe, ChannelStream
from llorch_ctl.ssh.handshake import Handshake, Timeouts, words
from llorch_ctl.ssh.hostkeys import HostKeyPolicy
from llorch_ctl.ssh.live import LiveTransport
from llorch_ctl.ssh.sessions import SessionGate
from llorch_ctl.ssh.target import Target


class Connection:
    """A context manager: entering connects and logs in. Thread-safe once it is open.

    Raises the errors of llorch_ctl.errors, named after `pool`.
    """

    def __init__(
        self,
        pool: str,
        route: Sequence[Target],
        policy: HostKeyPolicy,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.pool = pool
        self._route = route
        self._timeouts = timeouts or Timeouts()
        self._handshake = Handshake(pool, policy, self._timeouts)
        self._sessions = SessionGate()
        self._hops: list[LiveTransport] = []
        self._opening = threading.Lock()

    def __enter__(self) -> Self:
        try:
            for target in self._route:
                previous = self._hops[-1] if self._hops else None
                transport = self._handshake.greet(target, via=previous)
                self._hops.append(transport)
                log_in(transport, self.pool, target)
                transport.start_pulse(self._timeouts.pulse, self._timeouts.pulses)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        for transport in reversed(self._hops):
            transport.close()
        for transport in reversed(self._hops):
            transport.join(2)

    @property
    def last_hop(self) -> LiveTransport:
        """The line to the end of the route."""
        return self._hops[-1]

    def start(self, command: str) -> ChannelPipe:
        """Run a command, without a terminal. Raises NoSessions or Lost."""
        channel = self.open_session()
        pipe = ChannelPipe(channel, self._sessions.release)
        try:
            channel.exec_command(command)
        except (paramiko.SSHException, OSError, EOFError) as error:
            pipe.close()
            raise self._broken(error) from error
        return pipe

    def open_session(self) -> paramiko.Channel:
        """A session channel; `release_session` must follow. Waits for its turn."""
        try:
            return self._sessions.open(partial(self._open_channel, "session"))
        except (paramiko.ChannelException, TimeoutError) as error:
            raise NoSessions(
                self.pool,
                "server allows no more sessions (MaxSessions)",
                "wait for the others to end, or raise it in its sshd_config",
            ) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self._broken(error) from error

    def release_session(self) -> None:
        self._sessions.release()

    def reach(self, port: int) -> ChannelStream:
        """A connection to 127.0.0.1:`port` of the pool. Raises ForwardRefused or Lost."""
        try:
            channel = self._open_channel("direct-tcpip", ("127.0.0.1", port))
        except paramiko.ChannelException as error:
            prohibited = error.code == 1
            raise ForwardRefused(
                self.pool,
                f"forwarding to 127.0.0.1:{port} refused",
                "allow AllowTcpForwarding in its sshd_config"
                if prohibited
                else "is the worker still running?",
            ) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self._broken(error) from error
        return ChannelStream(channel)

    def _open_channel(self, kind: str, to: tuple[str, int] | None = None) -> paramiko.Channel:
        """One at a time: paramiko keeps a single place for the reason of a refusal."""
        source = ("127.0.0.1", 0) if to else None
        with self._opening:
            return self.last_hop.open_channel(kind, to, source, timeout=self._timeouts.channel)

    def wait_lost(self, timeout: float) -> Lost | None:
        self.last_hop.join(timeout)
        return None if self.last_hop.is_alive() else self._broken(EOFError())

    def _broken(self, error: BaseException) -> Lost:
        return Lost(self.pool, f"connection lost ({words(error)})", "run it again")
