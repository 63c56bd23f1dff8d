"""One command on many pools at once, and what came of it on each."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from llorch_ctl.connect import open_transport
from llorch_ctl.inventory import Pool
from llorch_ctl.transport import NO_SECRETS, Answer, Transport
from pool_core.errors import Cancelled, ExitCode, LlorchError
from pool_core.events import Error, Event
from pool_core.home import Home
from pool_ctl.failures import as_error

_MAX_THREADS = 32
_CANCEL_S = 8.0  # more than a pool may take to say how its cancel went

# What several exit codes add up to: the first of these that any pool had.
_PRECEDENCE = (
    ExitCode.CANCELLED,
    ExitCode.USAGE,
    ExitCode.REFUSED,
    ExitCode.VERSION,
    ExitCode.FAILED,
    ExitCode.UNREACHABLE,
    ExitCode.CHECK_FAILED,
)


class Phase(StrEnum):
    """How far a pool is, for whoever watches."""

    CONNECTING = "connecting"
    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command came to on one pool: an answer or an error."""

    pool: Pool
    answer: Answer | None = None
    error: LlorchError | None = None

    @property
    def ok(self) -> bool:
        return self.answer is not None and self.answer.ok

    @property
    def exit_code(self) -> ExitCode:
        if self.error is not None:
            return self.error.exit_code
        return self.answer.exit_code if self.answer else ExitCode.FAILED

    def to_dict(self) -> dict[str, Any]:
        """What --json says of this pool."""
        if self.answer is not None:
            return {"ok": self.answer.ok, "data": self.answer.data}
        error = Error.of(self.error or Cancelled())
        return {
            "ok": False,
            "error": {
                "code": error.code,
                "msg": error.msg,
                "remedy": error.remedy,
                "exit": error.exit,
                "details": error.details,
            },
        }


def exit_code_of(outcomes: Sequence[Outcome]) -> ExitCode:
    """One exit code for all: 130 > 2 > 4 > 5 > 1 > 3 > 6 > 0."""
    codes = {outcome.exit_code for outcome in outcomes}
    return next((code for code in _PRECEDENCE if code in codes), ExitCode.OK)


# Told, in the thread of `run`, what a pool said or how far it is.
Watch = Callable[[Pool, Event | Phase], None]


class Fleet:
    """Pools that are asked the same thing at the same time. One pool's failure is its own."""

    def __init__(
        self,
        pools: Sequence[Pool],
        home: Home,
        opener: Callable[[Pool, Home], Transport] = open_transport,
    ) -> None:
        self._pools = pools
        self._home = home
        self._open = opener

    def run(
        self, argv: Sequence[str], watch: Watch, secrets: Mapping[str, str] = NO_SECRETS
    ) -> list[Outcome]:
        """An outcome for each pool, in their order; never raises what a pool raised.

        Ctrl-C once asks every pool to cancel and waits for their word; twice hangs up.
        """
        return _Run(self._pools, self._home, self._open, watch).go(argv, secrets)


class _Run:
    """One run. The calling thread owns `_outcomes` and `_phases`; others send to the queue."""

    def __init__(
        self,
        pools: Sequence[Pool],
        home: Home,
        opener: Callable[[Pool, Home], Transport],
        watch: Watch,
    ) -> None:
        self._pools = pools
        self._home = home
        self._open = opener
        self._watch = watch
        self._cancel = threading.Event()
        self._queue: queue.SimpleQueue[tuple[Pool, Event | Phase | Outcome]] = queue.SimpleQueue()
        self._waiting: queue.SimpleQueue[Pool] = queue.SimpleQueue()
        self._phases: dict[str, Phase] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._transports: dict[str, Transport] = {}

    def go(self, argv: Sequence[str], secrets: Mapping[str, str]) -> list[Outcome]:
        for pool in self._pools:
            self._waiting.put(pool)
        for number in range(min(_MAX_THREADS, len(self._pools))):
            threading.Thread(
                target=self._work, args=(argv, secrets), name=f"pool-{number}", daemon=True
            ).start()
        try:
            self._gather(None)
        except KeyboardInterrupt:
            self._wind_down()
        return [self._outcomes[pool.name] for pool in self._pools]

    # -- the calling thread ----------------------------------------------

    def _gather(self, deadline: float | None) -> None:
        while len(self._outcomes) < len(self._pools):
            left = 1.0 if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return
            try:
                pool, news = self._queue.get(timeout=min(left, 1.0))
            except queue.Empty:
                continue
            self._take(pool, news)

    def _take(self, pool: Pool, news: Event | Phase | Outcome) -> None:
        if pool.name in self._outcomes:  # given up while it was on its way
            return
        if isinstance(news, Outcome):
            self._outcomes[pool.name] = news
            self._watch(pool, Phase.OK if news.ok else Phase.FAILED)
            return
        if isinstance(news, Phase):
            self._phases[pool.name] = news
        self._watch(pool, news)

    def _wind_down(self) -> None:
        """After a Ctrl-C. A pool that runs nothing yet is not waited for."""
        self._cancel.set()
        for pool in self._pools:
            if self._phases.get(pool.name) is not Phase.RUNNING:
                self._give_up(pool)
        with suppress(KeyboardInterrupt):
            self._gather(time.monotonic() + _CANCEL_S)
        for pool in self._pools:
            self._give_up(pool)
        for transport in list(self._transports.values()):
            transport.close()

    def _give_up(self, pool: Pool) -> None:
        if pool.name not in self._outcomes:
            self._take(pool, Outcome(pool, error=Cancelled()))

    # -- a thread of its own for each pool -------------------------------

    def _work(self, argv: Sequence[str], secrets: Mapping[str, str]) -> None:
        while True:
            try:
                pool = self._waiting.get_nowait()
            except queue.Empty:
                return
            try:
                outcome = Outcome(pool, answer=self._ask(pool, argv, secrets))
            except Exception as error:  # not even a defect may leave its pool without an outcome
                outcome = Outcome(pool, error=as_error(error, self._home))
            self._queue.put((pool, outcome))

    def _ask(self, pool: Pool, argv: Sequence[str], secrets: Mapping[str, str]) -> Answer:
        if self._cancel.is_set():
            raise Cancelled()
        self._queue.put((pool, Phase.CONNECTING))
        with self._opened(pool) as transport:
            transport.connect()
            self._queue.put((pool, Phase.RUNNING))
            work = transport.request(argv, secrets=secrets, cancel=self._cancel)
            while True:
                try:
                    self._queue.put((pool, next(work)))
                except StopIteration as stop:
                    answer: Answer = stop.value
                    return answer

    @contextmanager
    def _opened(self, pool: Pool) -> Iterator[Transport]:
        with self._open(pool, self._home) as transport:
            self._transports[pool.name] = transport
            try:
                yield transport
            finally:
                del self._transports[pool.name]
