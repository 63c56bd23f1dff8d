"""The first half of a connection: an encrypted line to a host whose key has been checked."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import paramiko

from llorch_ctl.errors import ConnectTimeout, ServerBusy, Unreachable
from llorch_ctl.ssh.dial import dial
from llorch_ctl.ssh.hostkeys import HostKey, HostKeyPolicy
from llorch_ctl.ssh.live import LiveTransport
from llorch_ctl.ssh.target import Target

_TRIES = 4


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds, and how many signs of life may stay out before the line counts as dead."""

    connect: float = 10.0
    handshake: float = 10.0
    login: float = 20.0
    channel: float = 10.0
    pulse: float = 5.0
    pulses: int = 3


class Handshake:
    """Makes transports that are not logged in yet. Raises errors named after `pool`."""

    def __init__(self, pool: str, policy: HostKeyPolicy, timeouts: Timeouts) -> None:
        self._pool = pool
        self._policy = policy
        self._timeouts = timeouts

    def greet(self, target: Target, via: paramiko.Transport | None = None) -> LiveTransport:
        """Connect, through the jump host `via` if there is one, and check the host's key."""
        transport = self.exchange(target, via)
        try:
            self._policy.check(target, HostKey.of(transport.get_remote_server_key()))
        except BaseException:
            transport.close()
            raise
        return transport

    def exchange(
        self,
        target: Target,
        via: paramiko.Transport | None = None,
        algorithms: Sequence[str] = (),
    ) -> LiveTransport:
        """Connect and agree on keys; whose they are is for the caller to judge.

        Tried again when sshd hangs up at once, as it does under load.
        """
        for attempt in range(1, _TRIES + 1):
            transport = self._new_transport(target, via)
            try:
                self._negotiate(transport, target, algorithms)
                return transport
            except _HungUp as error:
                transport.close()
                if attempt == _TRIES:
                    raise self._busy(target) from error
                time.sleep(random.uniform(0.05, 0.2) * 2**attempt)
            except BaseException:
                transport.close()
                raise
        raise self._busy(target)

    def _new_transport(self, target: Target, via: paramiko.Transport | None) -> LiveTransport:
        if via is None:
            sock: Any = dial(self._pool, target, self._timeouts.connect)
        else:
            sock = self._through(via, target)
        transport = LiveTransport(sock)
        transport.banner_timeout = self._timeouts.handshake
        transport.handshake_timeout = self._timeouts.handshake
        transport.auth_timeout = self._timeouts.login
        transport.channel_timeout = self._timeouts.channel
        return transport

    def _through(self, via: paramiko.Transport, target: Target) -> paramiko.Channel:
        try:
            return via.open_channel(
                "direct-tcpip",
                (target.hostname, target.port),
                ("127.0.0.1", 0),
                timeout=self._timeouts.connect,
            )
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise Unreachable(
                self._pool,
                f"its jump host cannot reach {target.place} ({words(error)})",
                "check that address from there, and AllowTcpForwarding in its sshd_config",
            ) from error

    def _negotiate(
        self, transport: LiveTransport, target: Target, algorithms: Sequence[str]
    ) -> None:
        options = transport.get_security_options()
        options.key_types = algorithms or self._policy.algorithms(target, options.key_types)
        try:
            transport.start_client(timeout=self._timeouts.handshake)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self._explained(target, error) from error
        if not transport.initial_kex_done:
            raise self._silent(target)

    def _explained(self, target: Target, error: BaseException) -> Exception:
        text = str(error)
        if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
            return NoCommonAlgorithm(
                self._pool,
                f"{target.place}: no common algorithms ({text})",
                "llorch needs OpenSSH 7.2 or newer there",
            )
        # paramiko wraps both in the same words; the cause tells a silent host from a rude one
        if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
            return self._silent(target)
        if "banner" in text or isinstance(error, EOFError | OSError):
            return _HungUp(text)
        return Unreachable(self._pool, f"{target.place}: {words(error)}", "is it sshd?")

    def _silent(self, target: Target) -> ConnectTimeout:
        return ConnectTimeout(
            self._pool,
            f"{target.place} accepts the connection and says nothing "
            f"in {self._timeouts.handshake:g} s",
            "is it sshd that listens there, and is it alive?",
        )

    def _busy(self, target: Target) -> ServerBusy:
        return ServerBusy(
            self._pool,
            f"sshd at {target.place} dropped the connection {_TRIES} times "
            "(MaxStartups or PerSourcePenalties)",
            "wait 15 s, or raise the limit",
        )


class NoCommonAlgorithm(Unreachable):
    """The host offers nothing of what we asked for."""

    code = "E_ALGORITHMS"


class _HungUp(Exception):
    """sshd closed the connection before it said who it is."""


def words(error: BaseException) -> str:
    """An exception of paramiko or the system, in a few words."""
    if isinstance(error, EOFError):
        return "the other side hung up"
    return str(error) or type(error).__name__
