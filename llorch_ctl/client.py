"""One call of `llorch-pool stdio`, over whatever carries its three streams.

JSON lines both ways: our request goes first, then `hello` comes back, then events, then exactly
one `result` or `error`. Heartbeats run both ways, so that a dead line is noticed by either end.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from llorch_ctl.errors import Lost, NoAgent, PoolError, ProtocolError, VersionSkew
from llorch_ctl.lines import LineSplitter
from llorch_ctl.transport import Answer
from llorch_ctl.wire import BadLine, decode
from pool_core import __version__
from pool_core.errors import Cancelled, ExitCode, LlorchError
from pool_core.events import Error, Event, Heartbeat, Hello, Log, Result, Warning
from pool_core.protocol import HEARTBEAT_S, PROTOCOL, SERVER_SILENCE_S, Op, Request, op_line

_log = logging.getLogger(__name__)

# What our remote command prints when it finds no llorch-pool; see ssh/command.py.
NOT_INSTALLED = "llorch-pool-not-installed"
_AGAIN = "run it again: a download goes on where it was"


def _new_id() -> str:
    return secrets.token_hex(8)


class Pipe(Protocol):
    """The streams of a running `llorch-pool stdio`.

    `read` and `read_errors` are each used by one thread, the rest by any.
    """

    def read(self) -> bytes | None:
        """Bytes of stdout; b"" at its end, None when none came for half a second."""
        ...

    def read_errors(self) -> bytes | None:
        """The same for stderr."""
        ...

    def write(self, data: bytes) -> None:
        """Raises OSError when nobody reads any more."""
        ...

    def wait(self, timeout: float) -> int | None:
        """The exit status; negative when a signal ended it, None when it is not known."""
        ...

    def close(self) -> None:
        """End the input, give the process a moment to stop, then end it."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: for `hello`, between two signs of life, between ours, for the end of a cancel."""

    hello: float = 10.0
    silence: float = SERVER_SILENCE_S
    pulse: float = HEARTBEAT_S
    cancel: float = 5.0


class AgentCall:
    """One request to a pool. Use `run` once."""

    def __init__(self, pool: str, pipe: Pipe, patience: Patience | None = None) -> None:
        self._pool = pool
        self._pipe = pipe
        self._patience = patience or Patience()
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._splitter = LineSplitter()
        self._errors: tuple[str, ...] = ()  # replaced, never changed: two threads read it
        self._noise: deque[str] = deque(maxlen=5)
        self._heard_at = time.monotonic()
        self._cancel_by: float | None = None
        self._hello: Hello | None = None
        self._num_events = 0
        self._num_bad = 0
        self._closing = threading.Event()
        self._readers = [
            threading.Thread(target=self._read_lines, name=f"{pool}-out", daemon=True),
            threading.Thread(target=self._read_errors, name=f"{pool}-err", daemon=True),
        ]

    def run(
        self,
        argv: Sequence[str],
        given: Mapping[str, str],
        cancel: threading.Event | None = None,
    ) -> Generator[Event, None, Answer]:
        """What Transport.request promises."""
        for thread in self._readers:
            thread.start()
        try:
            self._send(Request(tuple(argv), _new_id(), secrets=dict(given)).to_json())
            return (yield from self._follow(cancel or threading.Event()))
        finally:
            self._pipe.close()
            self._closing.set()
            for thread in self._readers:
                thread.join(2)

    def _send(self, line: str) -> None:
        """Lone surrogates (file names that are not UTF-8) travel as JSON escapes."""
        try:
            self._pipe.write(line.encode("utf-8", "backslashreplace") + b"\n")
        except OSError as error:  # the reader sees the end of the stream and says what it means
            _log.debug("%s: write: %s", self._pool, error)

    # -- threads ---------------------------------------------------------

    def _read_lines(self) -> None:
        pulse_at = time.monotonic() + self._patience.pulse
        while not self._closing.is_set():
            data = self._pipe.read()
            if data:
                self._heard_at = time.monotonic()
                for line in self._splitter.feed(data):
                    self._lines.put(line)
            elif data is not None:
                break
            if time.monotonic() >= pulse_at:
                self._send(op_line(Op.HEARTBEAT))
                pulse_at = time.monotonic() + self._patience.pulse
        self._lines.put(None)

    def _read_errors(self) -> None:
        splitter = LineSplitter(limit=4096)
        while not self._closing.is_set():
            data = self._pipe.read_errors()
            if data == b"":
                return
            for line in splitter.feed(data or b""):
                _log.debug("%s: stderr: %s", self._pool, line)
                self._errors = (*self._errors[-20:], line)

    # -- the conversation ------------------------------------------------

    def _follow(self, cancel: threading.Event) -> Generator[Event, None, Answer]:
        hello_by = time.monotonic() + self._patience.hello
        while True:
            self._pass_on(cancel)
            self._check_deadlines(hello_by)
            try:
                line = self._lines.get(timeout=0.1)
            except queue.Empty:
                self._check_silence()
                continue
            if line is None:
                raise self._ended()
            match event := self._decode(line):
                case Hello() if self._hello is None:
                    yield from self._greet(event)
                case None | Heartbeat() | Hello():
                    pass
                case Result():
                    yield from self._complaints()
                    return self._conclude(event)
                case Error():
                    yield from self._complaints()
                    raise self._failed(event)
                case _:
                    self._num_events += 1
                    yield event

    def _pass_on(self, cancel: threading.Event) -> None:
        if cancel.is_set() and self._cancel_by is None:
            self._cancel_by = time.monotonic() + self._patience.cancel
            self._send(op_line(Op.CANCEL))

    def _check_deadlines(self, hello_by: float) -> None:
        now = time.monotonic()
        if self._cancel_by is not None and now >= self._cancel_by:
            raise Cancelled("cancelled; the pool did not say how far it came")
        if self._hello is None and now >= hello_by:
            raise self._silent_start()

    def _check_silence(self) -> None:
        """Only when all that came has been read: a slow caller makes no pool silent."""
        silence = time.monotonic() - self._heard_at
        if self._hello is not None and silence >= self._patience.silence:
            raise Lost(
                self._pool,
                f"nothing heard for {self._patience.silence:g} s; connection given up",
                "look at the machine and its network, then run it again",
            )

    def _decode(self, line: str) -> Event | None:
        try:
            event = decode(line)
        except BadLine as error:
            if self._hello is None:  # what the login shell's rc files print
                self._noise.append(line)
            else:
                self._num_bad += 1
            _log.debug("%s: not an event (%s): %.200s", self._pool, error, line)
            return None
        if self._hello is None and not isinstance(event, Hello | Error):
            self._noise.append(line)
            return None
        return event

    def _greet(self, hello: Hello) -> Generator[Event, None, None]:
        lowest, highest = hello.proto
        if not lowest <= PROTOCOL[1] <= highest:
            older = highest < PROTOCOL[1]
            raise VersionSkew(
                self._pool,
                f"llorch {hello.version} there speaks protocol {lowest} to {highest}, "
                f"llorch {__version__} here needs {PROTOCOL[1]}",
                f"upgrade llorch {f'on {self._pool}' if older else 'on this machine'}",
                there=hello.version,
                here=__version__,
            )
        self._hello = hello
        yield hello
        if hello.version != __version__:
            yield Log(f"llorch {hello.version} there, {__version__} here", level="note")

    def _complaints(self) -> Generator[Event, None, None]:
        if self._num_bad:
            yield Warning(f"ignored {self._num_bad} lines that are not events", "W_LINE")
        if self._splitter.num_too_long:
            yield Warning(f"ignored {self._splitter.num_too_long} lines over 256 KiB", "W_LINE")

    # -- how it ends -----------------------------------------------------

    def _conclude(self, result: Result) -> Answer:
        """The result counts; the exit status tells how `llorch-pool` judged it."""
        status = self._pipe.wait(5)
        fallback = ExitCode.OK if result.ok else ExitCode.FAILED
        exit_code = ExitCode(status) if status in set(ExitCode) else fallback
        return Answer(result.data, result.ok and exit_code is ExitCode.OK, exit_code)

    def _failed(self, error: Error) -> LlorchError:
        if error.code == Cancelled.code and self._cancel_by is not None:
            return Cancelled(error.msg, error.remedy)
        return error.to_exception()

    def _silent_start(self) -> PoolError:
        said = self._last_words()
        return ProtocolError(
            self._pool,
            f"llorch-pool did not say hello in {self._patience.hello:g} s"
            + (f'; instead came "{said}"' if said else ""),
            "check the account's shell start-up files, and ForceCommand in its sshd_config",
        )

    def _ended(self) -> LlorchError:
        """The stream ended without a result: what that means, from all we saw."""
        status = self._pipe.wait(2)
        self._readers[1].join(1)  # its last words
        if self._cancel_by is not None:
            return Cancelled()
        if self._splitter.num_too_long:
            return ProtocolError(self._pool, "its answer was a line over 256 KiB")
        said = self._last_words()
        quote = f': "{said}"' if said else ""
        if self._hello is not None:
            if status is None:
                return Lost(self._pool, f"connection lost after event {self._num_events}", _AGAIN)
            if status < 0:
                return Lost(self._pool, f"llorch-pool was killed on its way{quote}", _AGAIN)
            return Lost(self._pool, f"llorch-pool ended with status {status} and no answer{quote}")
        if status == 127 or NOT_INSTALLED in self._errors:
            return NoAgent(
                self._pool,
                "llorch-pool is not installed",
                "install llorch there so that ~/.local/bin/llorch-pool exists, "
                f'or set command = "/path/to/llorch-pool" in [pools.{self._pool}] of pools.toml',
            )
        if status == 126:
            return NoAgent(self._pool, f"llorch-pool cannot be executed{quote}")
        if status is None:
            return Lost(self._pool, f"connection lost before llorch-pool answered{quote}")
        return NoAgent(
            self._pool,
            f"the remote command ended with status {status} before llorch-pool answered{quote}",
            "check the account's login shell, and ForceCommand in its sshd_config",
        )

    def _last_words(self) -> str:
        heard = [line.strip() for line in (*self._noise, *self._errors) if line.strip()]
        return heard[-1][:200] if heard else ""
