"""The socket under an SSH connection, opened the way that costs 2 ms a command instead of 44."""

from __future__ import annotations

import errno
import socket
import subprocess
import threading
from contextlib import suppress

from llorch_ctl.errors import (
    ConnectionRefused,
    ConnectTimeout,
    NameNotResolved,
    Unreachable,
)
from llorch_ctl.ssh.target import Target

_USER_TIMEOUT_MS = 20_000


def dial(pool: str, target: Target, timeout: float) -> socket.socket:
    """Connect to the first address that answers. Raises the errors of Unreachable."""
    if target.proxy_command:
        return _dial_command(pool, target.proxy_command)
    try:
        found = socket.getaddrinfo(target.hostname, target.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise NameNotResolved(
            pool,
            f'cannot resolve "{target.hostname}"',
            f"check the name, and HostName in ~/.ssh/config (ssh -G {target.hostname})",
        ) from error
    # Every address gets its try: one that times out must not hide one that answers.
    failure: OSError = OSError("no address")
    for family, kind, proto, _, address in found:
        sock = socket.socket(family, kind, proto)
        sock.settimeout(timeout)
        try:
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            tune(sock)
            return sock
    raise _unreachable(pool, target, timeout, failure) from failure


def tune(sock: socket.socket) -> None:
    """Send small packets at once, and let the kernel give up on a peer that stops acknowledging."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)


def _unreachable(pool: str, target: Target, timeout: float, error: OSError) -> Unreachable:
    if isinstance(error, ConnectionRefusedError):
        return ConnectionRefused(
            pool,
            f"{target.place} refused",
            "start sshd there (macOS: switch on Remote Login), or check the port",
        )
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return ConnectTimeout(
            pool, f"{target.place}: no answer in {timeout:g} s", "host down or firewalled?"
        )
    return Unreachable(
        pool, f"{target.place}: {error.strerror or error}", "check the network and the address"
    )


def _dial_command(pool: str, command: str) -> socket.socket:
    """ProxyCommand as ssh runs it: through a shell, its stdin and stdout as one socket."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise Unreachable(pool, f"ProxyCommand cannot be run: {error.strerror}") from error
    # It ends when its socket closes; somebody has to take note of that.
    threading.Thread(target=process.wait, name="proxy-command", daemon=True).start()
    return ours
