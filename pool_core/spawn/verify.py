"""Checking that a port was really given back."""

from __future__ import annotations

import errno
import socket
import time

_WAIT_S = 2.0
_POLL_S = 0.05


def port_is_free(host: str, port: int, wait_s: float = _WAIT_S) -> bool:
    """Whether `host:port` can be listened on, now or within `wait_s`. Port 0 is always free."""
    deadline = time.monotonic() + wait_s
    while port and not _can_bind(host, port):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _can_bind(host: str, port: int) -> bool:
    """False only for an address in use; one we may not bind for other reasons proves nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT is no listener
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
        return True
