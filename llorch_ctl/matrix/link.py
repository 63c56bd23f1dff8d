"""The line to one pool during a run: it can be halted, and is opened anew if it breaks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from llorch_ctl.errors import PoolError
from llorch_ctl.transport import Transport, Tunnel
from pool_core.errors import Cancelled, ExitCode, LlorchError
from pool_core.events import Event

_BROKEN = (ExitCode.UNREACHABLE, ExitCode.REFUSED, ExitCode.VERSION)
_CLEANUP_S = 60.0
_MAX_BREAKS = 3

OnEvent = Callable[[Event], None]


class TooSlow(LlorchError):
    """The pool did not finish in the time it was given; the work was cancelled there."""

    code = "E_TIMEOUT"


def is_broken(error: LlorchError) -> bool:
    """Whether the pool itself is out of reach, rather than what was asked of it gone wrong."""
    return isinstance(error, PoolError) and error.exit_code in _BROKEN


class PoolLink:
    """Used by one thread, but for `halt`. `lost` is why the pool could last not be reached."""

    def __init__(self, pool: str, open_transport: Callable[[], Transport]) -> None:
        self.pool = pool
        self.lost: LlorchError | None = None
        self._open = open_transport
        self._transport: Transport | None = None
        self._num_breaks = 0
        self._halted = threading.Event()
        self._cancel = threading.Event()

    @property
    def is_halted(self) -> bool:
        return self._halted.is_set()

    def halt(self) -> None:
        """End the running call and refuse further ones, `clean_up` excepted."""
        self._halted.set()
        self._cancel.set()

    def call(
        self, argv: Sequence[str], on_event: OnEvent | None = None, timeout: float | None = None
    ) -> Mapping[str, Any]:
        """`llorch-pool ARGV` there. Raises Cancelled when halted, TooSlow, or what the pool says.

        A pool that broke again and again is not tried any more.
        """
        if self.lost and self._num_breaks >= _MAX_BREAKS:
            raise self.lost
        cancel = self._cancel = threading.Event()
        if self._halted.is_set():
            raise Cancelled()
        try:
            return self._drive(argv, on_event, timeout, cancel)
        except Cancelled:
            if self._halted.is_set() or timeout is None:
                raise
            raise TooSlow(f"not done within {timeout:g} s") from None

    def clean_up(self, argv: Sequence[str]) -> Mapping[str, Any]:
        """A call that also works when halted, and once more over a new line if the old breaks."""
        try:
            return self._drive(argv, None, _CLEANUP_S, threading.Event())
        except PoolError as error:
            if not is_broken(error):
                raise
            return self._drive(argv, None, _CLEANUP_S, threading.Event())

    @contextmanager
    def open_port(self, port: int) -> Iterator[Tunnel]:
        """Reach a port of the pool from here."""
        with self._connected().open_port(port) as tunnel:
            yield tunnel

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _connected(self) -> Transport:
        if self._transport is None:
            self._transport = self._open()
        return self._transport

    def _drive(
        self,
        argv: Sequence[str],
        on_event: OnEvent | None,
        timeout: float | None,
        cancel: threading.Event,
    ) -> Mapping[str, Any]:
        timer = threading.Timer(timeout, cancel.set) if timeout else None
        if timer:
            timer.daemon = True
            timer.start()
        try:
            work = self._connected().call(argv, cancel=cancel)
            while True:
                event = next(work)
                if on_event:
                    on_event(event)
        except StopIteration as stop:
            self.lost, self._num_breaks = None, 0
            data: Mapping[str, Any] = stop.value
            return data
        except LlorchError as error:
            if is_broken(error):
                self._break(error)
            raise
        finally:
            if timer:
                timer.cancel()

    def _break(self, error: LlorchError) -> None:
        self.lost = error
        self._num_breaks += 1
        self.close()
