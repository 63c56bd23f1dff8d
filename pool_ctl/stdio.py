"""`llorch-pool stdio`: one command of a remote `llorch`, over this process's stdin and stdout.

The client's stdin is the lease of the work: when it ends, or falls silent, or says so, the
command is interrupted as by Ctrl-C. Whatever happens, one `result` or `error` is the last line
for as long as somebody may read it.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TextIO

from pool_core.console import Console
from pool_core.errors import Cancelled, ExitCode, LlorchError, UsageError
from pool_core.events import Error, Event, Heartbeat, Result, to_json
from pool_core.protocol import (
    CLIENT_SILENCE_S,
    HEARTBEAT_S,
    MAX_LINE_BYTES,
    Op,
    ProgressThrottle,
    ProtocolError,
    Request,
    hello,
    parse_op,
)


def serve(silence_s: float = CLIENT_SILENCE_S) -> int:
    """Answer the one request on stdin. Returns the exit code of its command."""
    wire = Wire(_take_stdout())
    wire.send(hello())  # before the slow imports: the client waits for this line
    lines = LineReader(0)
    try:
        request = _read_request(lines, silence_s)
    except LlorchError as error:
        wire.send(Error.of(error))
        return error.exit_code
    code = _run(request, wire, lines, silence_s)
    wire.finish()
    return code


class Wire:
    """The events to the client, one a line. Thread-safe; silent once the client is gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._throttle = ProgressThrottle(time.monotonic)
        self._closed = False
        self._ended = False

    def send(self, event: Event) -> None:
        """Write one event, unless nobody reads or the last word is spoken."""
        if self._closed:
            return
        with self._lock:
            if self._ended:
                return
            self._ended = isinstance(event, Result | Error)
            lines = [to_json(one) + "\n" for one in self._throttle.pass_through(event)]
            try:
                self._stream.write("".join(lines))
                self._stream.flush()
            except OSError:
                self._closed = True

    def close(self) -> None:
        """The client is gone: nothing more is written, so nothing can block on it."""
        self._closed = True

    def finish(self) -> None:
        """A command that had nothing to say still ends in a result."""
        self.send(Result(True, {}))


class WireConsole(Console):
    """The console of a remote command: everything it says goes over the wire."""

    def __init__(self, wire: Wire, interrupt: Interrupt) -> None:
        super().__init__(json_lines=True)
        self._wire = wire
        self._interrupt = interrupt

    def emit(self, event: Event) -> None:
        if isinstance(event, Result | Error):
            self._interrupt.disarm()  # too late to cancel: the last word must go out whole
        self._wire.send(event)


class LineReader:
    """Lines of at most MAX_LINE_BYTES from a file descriptor, with a time limit."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = b""

    def read(self, timeout_s: float) -> bytes | None:
        """The next line; None after `timeout_s` without one. Raises EOFError and ProtocolError."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            if len(self._buffer) > MAX_LINE_BYTES:
                raise ProtocolError(f"a line is longer than {MAX_LINE_BYTES} bytes")
            ready, _, _ = select.select([self._fd], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                return None
            chunk = os.read(self._fd, 65536)
            if not chunk:
                raise EOFError
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line


class Interrupt:
    """Turns a lost lease into one KeyboardInterrupt in the main thread, and none after `disarm`.

    Signal handlers run in the main thread, so there is no moment in which the command is done
    and still gets interrupted.
    """

    def __init__(self) -> None:
        self._armed = True
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def fire(self) -> None:
        """From any thread. Sent to the main thread, so that a blocking call of it returns."""
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def disarm(self) -> None:
        self._armed = False

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False  # a second one would break off the cleaning up
            raise KeyboardInterrupt


def _run(request: Request, wire: Wire, lines: LineReader, silence_s: float) -> int:
    """Run the command while the client holds the lease; its last word goes over the wire."""
    interrupt = Interrupt()
    try:
        _in_background("heartbeat", _beat, wire)
        _in_background("lease", _hold_lease, lines, wire, interrupt, silence_s)
        if request.argv[:1] == ("stdio",):
            raise UsageError("stdio cannot run inside stdio")
        from pool_core.home import Home
        from pool_ctl.app import run
        from pool_ctl.context import Session

        console = WireConsole(wire, interrupt)
        return run(request.argv, Session(Home.from_env(), console, request.secrets))
    except LlorchError as error:
        wire.send(Error.of(error))
        return error.exit_code
    except KeyboardInterrupt:
        wire.send(Error.of(Cancelled()))
        return ExitCode.CANCELLED
    finally:
        interrupt.disarm()


def _in_background(name: str, work: Callable[..., None], *args: object) -> None:
    threading.Thread(target=work, args=args, daemon=True, name=name).start()


def _read_request(lines: LineReader, silence_s: float) -> Request:
    try:
        line = lines.read(silence_s)
    except EOFError:
        raise ProtocolError("stdin ended before a request came") from None
    if line is None:
        raise ProtocolError(f"no request came within {silence_s:g} s")
    return Request.from_json(line)


def _hold_lease(lines: LineReader, wire: Wire, interrupt: Interrupt, silence_s: float) -> None:
    """Until the client cancels or is gone; what it says besides is only a sign of life."""
    while True:
        try:
            line = lines.read(silence_s)
            if line is None:
                wire.close()  # a dead connection that swallows nothing more would block us
                break
            if parse_op(line) is Op.CANCEL:
                break
        except EOFError:
            break
        except ProtocolError:
            continue
    interrupt.fire()


def _beat(wire: Wire) -> None:
    while True:
        time.sleep(HEARTBEAT_S)
        wire.send(Heartbeat())


def _take_stdout() -> TextIO:
    """Our own copy of stdout; what any library prints from now on goes to stderr instead."""
    # A file's name may hold bytes that are no UTF-8; this writes them as JSON escapes.
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace", newline="\n")
    os.dup2(2, 1)
    return stream
