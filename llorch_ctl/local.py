"""The pool on this machine: the same `llorch-pool stdio`, as a child process."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Any, Self

from llorch_ctl.client import AgentCall
from llorch_ctl.errors import Lost, NoAgent
from llorch_ctl.transport import NO_SECRETS, Answer, Tunnel, data_of
from llorch_ctl.tunnel import Endpoint, ForwardServer, dial_loopback
from pool_core.events import Event
from pool_core.files import clear_os_errors
from pool_core.home import Home

_READ_MS = 500
_STOP_S = 5.0


class ProcessPipe:
    """A child's streams. It has its own process group, so a Ctrl-C here reaches only us."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], stop_s: float = _STOP_S
    ) -> None:
        self._stop_s = stop_s
        self._process = subprocess.Popen(
            argv,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
        self._write_lock = threading.Lock()

    def read(self) -> bytes | None:
        return _read_some(self._process.stdout)

    def read_errors(self) -> bytes | None:
        return _read_some(self._process.stderr)

    def write(self, data: bytes) -> None:
        stream = self._process.stdin
        with self._write_lock:
            if stream is None or stream.closed:
                raise BrokenPipeError
            stream.write(data)
            stream.flush()

    def wait(self, timeout: float) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout)
        return None

    def close(self) -> None:
        """Reading threads must have ended, or end within their timeout after this returns."""
        with self._write_lock, suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()  # the lease of the work: its end is a cancel
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.wait(self._stop_s) is not None:
                break
            self._process.send_signal(number)
        self._process.wait()

    def release(self) -> None:
        """Close our ends of its output, once nobody reads them any more."""
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


def _read_some(stream: IO[bytes] | None) -> bytes | None:
    if stream is None or stream.closed:
        return b""
    poll = select.poll()  # select() fails on descriptors over 1023
    poll.register(stream, select.POLLIN)
    if not poll.poll(_READ_MS):
        return None
    return os.read(stream.fileno(), 65536)


class LocalTransport:
    """Transport to a `llorch-pool` of this machine; `command` replaces our own."""

    def __init__(self, name: str, home: Home, command: str | None = None) -> None:
        self.name = name
        self._home = home
        self._command = command
        self._open: set[ProcessPipe] = set()
        self._lock = threading.Lock()

    def connect(self) -> None:
        """Nothing to do: it is here."""

    def request(
        self,
        argv: Sequence[str],
        *,
        secrets: Mapping[str, str] = NO_SECRETS,
        cancel: threading.Event | None = None,
    ) -> Generator[Event, None, Answer]:
        pipe = self._start()
        try:
            return (yield from AgentCall(self.name, pipe).run(argv, secrets, cancel))
        finally:
            pipe.release()
            with self._lock:
                self._open.discard(pipe)

    def call(
        self,
        argv: Sequence[str],
        *,
        secrets: Mapping[str, str] = NO_SECRETS,
        cancel: threading.Event | None = None,
    ) -> Generator[Event, None, dict[str, Any]]:
        return data_of(self.request(argv, secrets=secrets, cancel=cancel))

    def _start(self) -> ProcessPipe:
        if self._command:
            argv = [str(Path(self._command).expanduser()), "stdio"]
        else:  # -P: a folder called pool_ctl in the current directory is not ours
            argv = [sys.executable, "-P", "-m", "pool_ctl", "stdio"]
        try:
            pipe = ProcessPipe(argv, self._environment())
        except OSError as error:
            raise NoAgent(
                self.name, f"{argv[0]} cannot be run: {error.strerror}", "check `command`"
            ) from error
        with self._lock:
            self._open.add(pipe)
        return pipe

    def _environment(self) -> dict[str, str]:
        env = dict(os.environ)
        if self._command is None and self._home.data == self._home.config:
            env["LLORCH_HOME"] = str(self._home.data)
        return env

    def put(self, local: Path, remote: PurePosixPath) -> None:
        target = Path(remote).expanduser()
        with clear_os_errors(target):
            handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
            os.close(handle)
            try:
                shutil.copy(local, temporary)
                os.replace(temporary, target)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise

    @contextmanager
    def open_port(self, remote_port: int) -> Iterator[Tunnel]:
        """The port itself: nothing to carry."""
        yield Endpoint(remote_port)

    def forward(self, remote_port: int, local_port: int) -> AbstractContextManager[Tunnel]:
        if local_port in (0, remote_port):
            return self.open_port(remote_port)
        return ForwardServer(self.name, lambda: dial_loopback(self.name, remote_port), local_port)

    def wait_lost(self, timeout: float) -> Lost | None:
        """This machine is always there."""
        threading.Event().wait(timeout)
        return None

    def close(self) -> None:
        with self._lock:
            pipes = list(self._open)
        for pipe in pipes:
            pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
