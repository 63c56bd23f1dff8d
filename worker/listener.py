"""The worker's own listening socket, bound before anything slow: two spawns cannot race for it."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress

import psutil

from pool_core.errors import LlorchError
from pool_core.spawn.report import WorkerExit


class CannotListen(LlorchError):
    """The address is not to be had; `exit` is what the process leaves with."""

    code = "E_LISTEN"

    def __init__(self, message: str, remedy: str, exit: WorkerExit) -> None:
        super().__init__(message, remedy)
        self.exit = exit


def listen(host: str, port: int) -> socket.socket:
    """A bound, listening TCP socket; `port` 0 lets the system choose. Raises CannotListen."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise _explain(error, host, port) from error
    listener = socket.socket(family, kind, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise _explain(error, host, port) from error
    return listener


def _explain(error: OSError, host: str, port: int) -> CannotListen:
    match error.errno:
        case errno.EADDRINUSE:
            return CannotListen(
                f"port {port} on {host} is taken{_owner(port)}",
                "stop that program, or let the system choose with --port 0",
                WorkerExit.PORT_TAKEN,
            )
        case errno.EACCES:
            return CannotListen(
                f"no permission to listen on port {port}",
                "use one above 1023, or --port 0",
                WorkerExit.PORT_TAKEN,
            )
    return CannotListen(
        f"cannot listen on {host}: {error.strerror or error}",
        "use an address of this machine, such as 127.0.0.1",
        WorkerExit.USAGE,
    )


def _owner(port: int) -> str:
    """Who has the port, where the system lets us see it."""
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.pid:
                continue
            if tuple(connection.laddr)[1:] == (port,):
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""
