"""Keys held by an SSH agent."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from types import TracebackType
from typing import Self

import paramiko
from paramiko.agent import AgentSSH

_TIMEOUT_S = 5.0


class Agent(AgentSSH):
    """The agent that a target's IdentityAgent names; a context manager.

    An agent that is not there, or does not answer, simply has no keys.
    """

    def __init__(self, identity_agent: str | None) -> None:
        super().__init__()
        self._path = _socket_path(identity_agent)

    def __enter__(self) -> Self:
        if self._path:
            conn = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            conn.settimeout(_TIMEOUT_S)
            try:
                conn.connect(self._path)
                self._connect(conn)  # type: ignore[attr-defined]
            except (OSError, paramiko.SSHException):
                conn.close()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._close()  # type: ignore[attr-defined]


def _socket_path(identity_agent: str | None) -> str | None:
    """What ssh_config(5) allows: a path, SSH_AUTH_SOCK, $VARIABLE or none."""
    if identity_agent is None or identity_agent == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK")
    if identity_agent == "none":
        return None
    if identity_agent.startswith("$"):
        return os.environ.get(identity_agent[1:].strip("{}"))
    return os.path.expanduser(identity_agent)
