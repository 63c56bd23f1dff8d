"""Channels of a connection, as the streams that the rest of llorch_ctl works with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import paramiko

_CHUNK = 64 * 1024
_READ_S = 0.5


class ChannelPipe:
    """A command that runs on a pool: the Pipe of llorch_ctl.client over a session channel."""

    def __init__(self, channel: paramiko.Channel, on_close: Callable[[], None]) -> None:
        channel.settimeout(_READ_S)
        self._channel = channel
        self._on_close = on_close
        self._closed = False
        self._write_lock = threading.Lock()
        self._broken = False

    def read(self) -> bytes | None:
        with suppress(TimeoutError):
            return self._channel.recv(_CHUNK)
        return None

    def read_errors(self) -> bytes | None:
        with suppress(TimeoutError):
            return self._channel.recv_stderr(_CHUNK)
        return None

    def write(self, data: bytes) -> None:
        with self._write_lock:
            if self._broken:
                raise BrokenPipeError
            try:
                self._channel.sendall(data)
            except OSError:  # half a line may be out: nothing can follow it
                self._broken = True
                raise

    def wait(self, timeout: float) -> int | None:
        """paramiko says -1 for a signal and for a lost connection; the latter is None here."""
        if not self._channel.status_event.wait(timeout):
            return None
        status = self._channel.exit_status
        transport = self._channel.get_transport()
        if status == -1:
            transport.join(0.5)  # its last thread clears up just after the channels have ended
            return -1 if transport.is_active() else None
        return status

    def close(self) -> None:
        """sshd passes the end of the input on: the command knows its lease is over."""
        if self._closed:
            return
        self._closed = True
        with suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.shutdown_write()
        self._channel.close()
        self._on_close()


class ChannelStream:
    """A forwarded connection as the Stream of llorch_ctl.tunnel."""

    def __init__(self, channel: paramiko.Channel) -> None:
        channel.settimeout(None)
        self._channel = channel

    def recv(self, size: int, /) -> bytes:
        return self._channel.recv(size)

    def sendall(self, data: bytes, /) -> None:
        self._channel.sendall(data)

    def end_sending(self) -> None:
        self._channel.shutdown_write()

    def close(self) -> None:
        self._channel.close()
