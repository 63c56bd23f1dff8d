"""A run from its first question to its last report. One thread decides, one for each pool acts."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from llorch_ctl.matrix.happenings import CellFinished, Happening, Note, StageChanged
from llorch_ctl.matrix.lane import Lane, LaneEnded, Posted
from llorch_ctl.matrix.link import PoolLink
from llorch_ctl.matrix.observation import Observation
from llorch_ctl.matrix.plan import CellKey, Plan
from llorch_ctl.matrix.reports.report import Report, now
from llorch_ctl.matrix.reports.writer import write_all, write_progress
from llorch_ctl.matrix.result import CellResult, count
from llorch_ctl.matrix.survey import Survey, check_names, survey_pools
from llorch_ctl.matrix.verdict import Traces, judge, traces_of
from llorch_ctl.transport import Transport
from pool_core.errors import ExitCode, LlorchError

# Which of several ends a caller should hear of, the gravest first.
_GRAVITY = (
    ExitCode.CANCELLED,
    ExitCode.REFUSED,
    ExitCode.VERSION,
    ExitCode.UNREACHABLE,
    ExitCode.CELLS_FAILED,
)


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The operator asked for an end."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended."""

    report: Report
    exit_code: ExitCode
    files: list[Path]

    def to_dict(self) -> dict[str, Any]:
        """The last line of `--json`."""
        return {
            "report": str(self.files[0]),
            "files": [str(path) for path in self.files],
            "totals": count(self.report.cells),
            "cells": [
                {
                    "model": cell.cell.model,
                    "backend": cell.cell.backend,
                    "pool": cell.cell.pool,
                    "status": cell.status.value,
                    "reason": cell.reason,
                    "remedy": cell.remedy,
                }
                for cell in self.report.cells
            ],
        }


@dataclass(slots=True)
class MatrixRun:
    """Use it once: `check`, then `events`. `earlier` are verdicts taken over from an older run."""

    plan: Plan
    open_transport: Callable[[str], Transport]
    folder: Path
    earlier: Mapping[CellKey, CellResult] = field(default_factory=dict)
    download: bool = True
    fail_fast: bool = False
    _inbox: queue.SimpleQueue[Posted | Interrupted] = field(
        init=False, default_factory=queue.SimpleQueue
    )
    _surveys: dict[str, Survey] = field(init=False, default_factory=dict)
    _links: dict[str, PoolLink] = field(init=False, default_factory=dict)
    _lanes: dict[str, Lane] = field(init=False, default_factory=dict)
    _waiting: list[Observation] = field(init=False, default_factory=list)
    _traces: dict[CellKey, Traces | None] = field(init=False, default_factory=dict)
    _ends: set[ExitCode] = field(init=False, default_factory=set)

    def check(self) -> None:
        """Ask the pools what they have. Raises UnknownName; nothing is started."""
        for pool in self.plan.lanes:
            self._links[pool] = PoolLink(pool, partial(self.open_transport, pool))
        self._surveys = survey_pools(self._links.values())
        check_names(self.plan.matrix, self._surveys)

    def close(self) -> None:
        """Hang up everywhere."""
        for link in self._links.values():
            link.close()

    def events(self) -> Generator[Happening, None, Ending]:
        """Run all cells, telling what happens. When it ends, nothing it started is running."""
        report = Report.begin(self.plan)
        for key, result in self.earlier.items():
            report.results[key] = result
            self._traces[key] = result.traces
            yield CellFinished(result, is_earlier=True)
        write_progress(self.folder, report)  # an hour of work must not end in "no permission"
        with _interrupts_to(self._inbox.put):
            threads = self._start()
            try:
                yield from self._follow(report)
            finally:
                self._cancel()
                for thread in threads:
                    thread.join()
                # Also when nobody looks any more: the terminal that showed it may be closed.
                report.finished = now()
                files = write_all(self.folder, report)
        return Ending(report, self._exit_code(report), files)

    # -- lanes -----------------------------------------------------------

    def _start(self) -> list[threading.Thread]:
        for pool, cells in self.plan.lanes.items():
            left = [cell for cell in cells if cell not in self.earlier]
            if left:
                self._lanes[pool] = Lane(
                    self._links[pool],
                    left,
                    self.plan.matrix,
                    self._surveys[pool],
                    self._inbox.put,
                    download=self.download,
                )
        threads = [
            threading.Thread(target=lane.run, name=f"matrix-{pool}")
            for pool, lane in self._lanes.items()
        ]
        for thread in threads:
            thread.start()
        return threads

    def _cancel(self) -> None:
        for lane in self._lanes.values():
            lane.cancel()

    # -- what they post --------------------------------------------------

    def _follow(self, report: Report) -> Iterator[Happening]:
        num_running = len(self._lanes)
        while num_running:
            match self._inbox.get():
                case Observation() as seen:
                    self._traces[seen.cell] = traces_of(seen) if seen.error is None else None
                    self._waiting.append(seen)
                    yield from self._settle(report)
                case LaneEnded(error=error):
                    num_running -= 1
                    self._remember(error)
                case Interrupted():
                    if ExitCode.CANCELLED not in self._ends:
                        yield Note("stopping the workers")
                    self._ends.add(ExitCode.CANCELLED)
                    self._cancel()
                case happening:
                    yield happening

    def _settle(self, report: Report) -> Iterator[Happening]:
        """Judge every cell whose baselines are known; the others wait for theirs."""
        for seen in list(self._waiting):
            baselines = self.plan.baselines(seen.cell)
            if any(key not in self._traces for key in baselines):
                yield StageChanged(seen.cell, "waiting for the baseline")
                continue
            self._waiting.remove(seen)
            found = {key: self._traces[key] for key in baselines}
            result = judge(seen, self.plan.matrix, found)
            report.results[seen.cell] = result
            write_progress(self.folder, report)
            yield CellFinished(result)
            if self.fail_fast and result.status.is_bad:
                self._cancel()

    def _remember(self, error: LlorchError | None) -> None:
        if error is not None:
            self._ends.add(error.exit_code)

    def _exit_code(self, report: Report) -> ExitCode:
        ends = self._ends | ({ExitCode.CELLS_FAILED} if report.bad else set())
        return next((code for code in _GRAVITY if code in ends), ExitCode.OK)


@contextmanager
def _interrupts_to(post: Callable[[Interrupted], None]) -> Iterator[None]:
    """Ctrl-C, a polite kill and a closed terminal become messages, so that nothing is torn down
    half-way; the former handlers come back afterwards."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(signum: int, frame: FrameType | None) -> None:
        post(Interrupted())

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    former = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
