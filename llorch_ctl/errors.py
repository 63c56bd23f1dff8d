"""What can go wrong between this machine and a pool; every message names the pool."""

from __future__ import annotations

from typing import Any

from pool_core.errors import ExitCode, LlorchError


class PoolError(LlorchError):
    """Base of the errors that belong to one pool. `str()` starts with the pool's name."""

    def __init__(self, pool: str, message: str, remedy: str | None = None, **details: Any) -> None:
        super().__init__(f"{pool}: {message}", remedy, pool=pool, **details)
        self.pool = pool


class Unreachable(PoolError):
    """No connection came about; nothing was tried on the pool."""

    code = "E_UNREACHABLE"
    exit_code = ExitCode.UNREACHABLE


class NameNotResolved(Unreachable):
    code = "E_DNS"


class ConnectionRefused(Unreachable):
    code = "E_REFUSED"


class ConnectTimeout(Unreachable):
    code = "E_TIMEOUT"


class ServerBusy(Unreachable):
    """sshd hung up before it said who it is, again and again."""

    code = "E_BUSY"


class Lost(PoolError):
    """The connection broke before the answer came: the work may or may not have been done."""

    code = "E_LOST"
    exit_code = ExitCode.UNREACHABLE


class NoAgent(PoolError):
    """The machine answers and has no `llorch-pool`, or runs something else in its place."""

    code = "E_NOAGENT"
    exit_code = ExitCode.UNREACHABLE


class ProtocolError(PoolError):
    """The other side does not speak the protocol."""

    code = "E_PROTOCOL"
    exit_code = ExitCode.UNREACHABLE


class VersionSkew(PoolError):
    code = "E_VERSION"
    exit_code = ExitCode.VERSION


class Refused(PoolError):
    """Base: the host is not who we know, or does not know us."""

    code = "E_REFUSED_LOGIN"
    exit_code = ExitCode.REFUSED


class HostKeyNew(Refused):
    code = "E_HOSTKEY_NEW"


class HostKeyChanged(Refused):
    code = "E_HOSTKEY_CHANGED"


class HostKeyRevoked(Refused):
    code = "E_HOSTKEY_REVOKED"


class HostKeyAuthority(Refused):
    code = "E_HOSTKEY_CA"


class AuthRefused(Refused):
    code = "E_AUTH"


class KeyLocked(Refused):
    code = "E_KEY_LOCKED"


class NoSessions(PoolError):
    """sshd grants no more sessions on this connection."""

    code = "E_SESSIONS"


class ForwardRefused(PoolError):
    """A port of the pool cannot be reached through the connection."""

    code = "E_FWD"


class TransferFailed(PoolError):
    code = "E_TRANSFER"
