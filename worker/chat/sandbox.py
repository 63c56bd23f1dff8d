"""Where chat templates run: a small process that can neither hang nor fill the memory for long."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

import orjson

MAX_OUTPUT_CHARS = 16 << 20
RENDER_TIMEOUT_S = 5.0

_SCRIPT = Path(__file__).with_name("render_child.py")
_STARTUP_S = 20.0  # for a new process on a busy machine
_GRACE_S = 1.0  # the process ends itself first
_HEAD_BYTES = 5
_PIPE_BYTES = 1 << 20


class TemplateFailed(Exception):
    """The template refused the conversation or is broken; the text is the reason."""


class TemplateCrashed(TemplateFailed):
    """The template took too long or too much memory, or ended its process."""


class TemplateSandbox:
    """One process for all templates of a worker, started at once and again whenever a template has
    ended it. It goes with the worker, however that ends: its stdin ends then.

    Thread-safe; renders one after the other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_closed = False
        self._child = _Child()

    def render(
        self,
        source: str,
        context: Mapping[str, Any],
        *,
        now: datetime,
        timeout_s: float = RENDER_TIMEOUT_S,
    ) -> str:
        """What the template makes of the context, which is plain JSON. `now` is what it believes
        the time is. Blocks; raises TemplateFailed.
        """
        request = {
            "context": context,
            "now": now.isoformat(),
            "seconds": timeout_s,
            "max_chars": MAX_OUTPUT_CHARS,
        }
        if not self._lock.acquire(timeout=_STARTUP_S):
            raise TemplateCrashed("the chat template is busy with other conversations")
        try:
            if self._is_closed:
                raise TemplateCrashed("the worker is stopping")
            if not self._child.is_alive:  # somebody else has ended it
                self._restart()
            return self._child.render(source, request)
        except TemplateCrashed:
            self._restart()
            raise
        finally:
            self._lock.release()

    @property
    def pid(self) -> int:
        """Of the process as it is now."""
        return self._child.pid

    def close(self) -> None:
        """End the process. Afterwards everything is refused."""
        with self._lock:
            self._is_closed = True
            self._child.close()

    def _restart(self) -> None:
        self._child.close()
        if not self._is_closed:
            self._child = _Child()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Child:
    """The process, from its start to its end. It is given nothing of the worker's environment."""

    def __init__(self) -> None:
        keep = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")  # to find Python's own parts
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_SCRIPT), json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in keep if name in os.environ},
            cwd="/",
            bufsize=0,
        )
        self._stdin = cast(IO[bytes], self._process.stdin)
        self._stdout = cast(IO[bytes], self._process.stdout)
        for pipe in (self._stdin, self._stdout):
            os.set_blocking(pipe.fileno(), False)
            with contextlib.suppress(AttributeError, OSError):  # Linux: fewer turns to and fro
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._known: set[str] = set()
        self._has_answered = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def render(self, source: str, request: dict[str, Any]) -> str:
        """Raises TemplateFailed; after TemplateCrashed the process is of no use any more."""
        key = sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
        request["key"] = key
        if key not in self._known:
            request["source"] = source
        raw = _to_json(request)
        seconds = request["seconds"]
        deadline = time.monotonic() + seconds + _GRACE_S
        if not self._has_answered:
            deadline += _STARTUP_S
        try:
            self._send(len(raw).to_bytes(4) + raw, deadline)
            head = self._receive(_HEAD_BYTES, deadline)
            size = int.from_bytes(head[1:])
            if size > 4 * MAX_OUTPUT_CHARS:
                raise TemplateCrashed("the chat template's process answered something else")
            text = self._receive(size, deadline).decode("utf-8", "surrogatepass")
        except (TimeoutError, EOFError, BrokenPipeError) as error:
            raise TemplateCrashed(self._ending(error, seconds)) from None
        except UnicodeDecodeError:
            raise TemplateCrashed("the chat template's process answered something else") from None
        self._has_answered = True
        self._known.add(key)
        return self._read(head[:1], text)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._stdin.close()
        self._stdout.close()

    @staticmethod
    def _read(kind: bytes, text: str) -> str:
        if kind == b"=":
            return text
        if kind == b"m":
            raise TemplateCrashed("the chat template needs too much memory")
        raise TemplateFailed(text)

    def _ending(self, error: Exception, seconds: float) -> str:
        """Why there was no answer."""
        if not isinstance(error, TimeoutError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(_GRACE_S)
                if code != -signal.SIGALRM:
                    return f"the chat template ended its process (exit {code})"
        return f"the chat template ran longer than {seconds:g} s"

    def _send(self, data: bytes, deadline: float) -> None:
        rest = memoryview(data)
        while rest:
            _wait(self._stdin, select.POLLOUT, deadline)
            rest = rest[self._stdin.write(rest) or 0 :]

    def _receive(self, size: int, deadline: float) -> bytes:
        kept = bytearray()
        while len(kept) < size:
            _wait(self._stdout, select.POLLIN, deadline)
            piece = self._stdout.read(size - len(kept))
            if piece == b"":
                raise EOFError
            kept += piece or b""
        return bytes(kept)


def _to_json(request: dict[str, Any]) -> bytes:
    """Raises TemplateFailed."""
    try:
        return orjson.dumps(request)
    except TypeError:
        pass  # it is particular: about large numbers, half surrogate pairs, depth
    try:
        return json.dumps(request).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TemplateFailed(f"the conversation is not plain JSON: {error}") from None


def _wait(pipe: IO[bytes], event: int, deadline: float) -> None:
    """Until there is something to be done with the pipe. Raises TimeoutError."""
    poll = select.poll()
    poll.register(pipe, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError
