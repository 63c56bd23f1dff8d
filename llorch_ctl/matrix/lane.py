"""One pool's share of a run: its cells one after another, each with a worker of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llorch_ctl.matrix.client import WorkerClient, WorkerGone
from llorch_ctl.matrix.happenings import Note, StageChanged
from llorch_ctl.matrix.link import OnEvent, PoolLink
from llorch_ctl.matrix.observation import Fault, Observation
from llorch_ctl.matrix.plan import CellKey
from llorch_ctl.matrix.probe import observe
from llorch_ctl.matrix.reports.report import now
from llorch_ctl.matrix.spec import Matrix
from llorch_ctl.matrix.survey import Survey
from pool_core.errors import Cancelled, LlorchError
from pool_core.events import Event, Progress, State

# What a report tells of a worker; above all not its token.
_WORKER_KEYS = (
    "id",
    "device",
    "layers_on_device",
    "layers_total",
    "bytes_on_device",
    "context_length",
    "build",
)


@dataclass(frozen=True, slots=True)
class LaneEnded:
    """The last thing a lane posts. `error` tells why its pool was out of reach at the end."""

    pool: str
    error: LlorchError | None


Posted = StageChanged | Note | Observation | LaneEnded


class Lane:
    """Runs in a thread of its own; what it finds out goes to `post`, one Observation for each
    cell. `cancel` may be called from any thread: workers are stopped all the same."""

    def __init__(
        self,
        link: PoolLink,
        cells: Sequence[CellKey],
        matrix: Matrix,
        survey: Survey,
        post: Callable[[Posted], None],
        *,
        download: bool = True,
    ) -> None:
        self.pool = link.pool
        self._link = link
        self._cells = cells
        self._matrix = matrix
        self._survey = survey
        self._post = post
        self._download = download
        self._fetched: set[str] = set()
        self._client: WorkerClient | None = None

    def cancel(self) -> None:
        """Stop as soon as it can be done cleanly."""
        self._link.halt()
        if client := self._client:
            client.abort()

    def run(self) -> None:
        """The whole lane; returns when its last worker is gone."""
        try:
            for cell in self._cells:
                self._post(self._observe(cell))
        finally:
            self._link.close()
            self._post(LaneEnded(self.pool, self._survey.error or self._link.lost))

    def _observe(self, cell: CellKey) -> Observation:
        seen = Observation(cell, machine=self._survey.machine)
        if self._link.is_halted:
            seen.is_cancelled = True
            return seen
        seen.started, started = now(), time.monotonic()
        try:
            self._try_cell(seen)
        except Cancelled:
            seen.is_cancelled = True
        except LlorchError as error:
            seen.error = Fault(error.message, error.remedy or "")
        except Exception as error:  # a defect of ours must not take the other cells with it
            seen.error = Fault(f"internal error: {error!r}")
        seen.finished, seen.seconds = now(), time.monotonic() - started
        return seen

    def _try_cell(self, seen: Observation) -> None:
        cell = seen.cell
        if fault := self._survey.fault(cell.backend):
            seen.error, seen.is_absent = fault, self._survey.may_skip(cell.backend)
            return
        self._fetch(cell)
        with self._worker(cell) as record:
            seen.worker = {key: record[key] for key in _WORKER_KEYS if key in record}
            seen.load_s = record.get("load_seconds")
            seen.machine = self._survey.machine_with(record)
            self._probe(seen, record)

    def _fetch(self, cell: CellKey) -> None:
        if not self._download or cell.model in self._fetched:
            return
        if self._survey.is_missing(cell.model):
            self._tell(cell, "downloading")
            self._link.call(["models", "download", cell.model], self._shower(cell, "downloading"))
        self._fetched.add(cell.model)

    def _probe(self, seen: Observation, record: Mapping[str, Any]) -> None:
        with self._link.open_port(int(record["port"])) as tunnel:
            self._client = WorkerClient(
                tunnel.host,
                tunnel.port,
                seen.cell.model,
                record.get("token"),
                self._matrix.limits.answer_timeout,
            )
            try:
                if self._link.is_halted:  # halted before there was a client to abort
                    raise Cancelled()
                observe(self._client, self._matrix, seen, self._teller(seen.cell))
            except WorkerGone as gone:
                if self._link.is_halted:
                    raise Cancelled() from None
                seen.error = self._autopsy(record, gone)
            finally:
                self._client = None

    def _autopsy(self, record: Mapping[str, Any], gone: WorkerGone) -> Fault:
        """Why the worker went away, by the pool's account of it."""
        reason = str(gone)
        try:
            reason = self._link.call(["worker", "show", str(record["id"])])["reason"] or reason
        except LlorchError as error:
            reason = error.message
        return Fault(f"the worker was lost: {reason}", f"its log on {self.pool}: {record['log']}")

    @contextmanager
    def _worker(self, cell: CellKey) -> Iterator[Mapping[str, Any]]:
        """A ready worker, stopped at the end of the block whatever happens in it.

        Its id comes with the first event, so that a spawn that breaks off is cleaned up too.
        """
        started: set[str] = set()
        show = self._shower(cell, "loading")

        def on_event(event: Event) -> None:
            if isinstance(event, State):
                started.add(event.subject)
            show(event)

        argv = ["worker", "spawn", cell.backend, "--model", cell.model]
        argv += self._matrix.worker.options
        self._tell(cell, "loading")
        try:
            record = self._link.call(argv, on_event, self._matrix.limits.load_timeout)
            started.add(str(record["id"]))
            yield record
        finally:
            for worker in sorted(started):
                self._stop(cell, worker)

    def _stop(self, cell: CellKey, worker: str) -> None:
        """If it cannot be stopped the operator must know, for nobody else will."""
        self._tell(cell, "stopping")
        try:
            self._link.clean_up(["worker", "stop", worker])
        except LlorchError as error:
            if error.code != "E_UNKNOWN":  # a failed spawn may have left nothing to stop
                remedy = f"llorch worker stop {worker} --pool {self.pool}"
                self._post(Note(f"{worker} may still run: {error.message}; try: {remedy}"))

    def _shower(self, cell: CellKey, stage: str) -> OnEvent:
        def show(event: Event) -> None:
            if isinstance(event, Progress) and event.total:
                self._tell(cell, stage, event.done, event.total)

        return show

    def _teller(self, cell: CellKey) -> Callable[[str, int, int], None]:
        return lambda stage, done, total: self._tell(cell, stage, done, total)

    def _tell(self, cell: CellKey, stage: str, done: float = 0, total: float = 0) -> None:
        self._post(StageChanged(cell, stage, done, total))
