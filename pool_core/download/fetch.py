"""One file from the hub to its place on disk, through every fault that can be waited out."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TypeVar

from pool_core.download.errors import HubUnreachable, Interrupted
from pool_core.download.hub import HubClient
from pool_core.download.job import Job
from pool_core.download.part import Part
from pool_core.download.retry import Patience, Transient
from pool_core.download.settings import DownloadSettings
from pool_core.events import Event, State, Warning
from pool_core.meter import Meter

T = TypeVar("T")


def patiently(
    ask: Callable[[], T], client: HubClient, task: str, settings: DownloadSettings
) -> Generator[Event, None, T]:
    """What `ask` returns, asked again while its trouble may pass. Raises HubUnreachable."""
    patience = Patience(settings)
    while True:
        try:
            return ask()
        except Transient as trouble:
            if (wait := patience.next_wait(trouble)) is None:
                raise HubUnreachable(client.endpoint, trouble.reason) from trouble
            yield _waiting(task, trouble, wait)
            time.sleep(wait)


class Fetch:
    """The transfer of one file into its part; `bytes_fetched` came over the network this time."""

    def __init__(self, client: HubClient, job: Job, settings: DownloadSettings) -> None:
        self._client = client
        self._job = job
        self._settings = settings
        self._furthest = 0
        self.bytes_fetched = 0
        self.resumed_from = 0

    def run(self) -> Generator[Event, None, str]:
        """Fetch what is missing, check the whole, put it in place; returns its sha256.

        Raises Interrupted (the part is kept), ChecksumMismatch (it is not), DiskFull, or the
        DownloadError that the hub's answer means.
        """
        job = self._job
        with Part(job.name, job.remote) as part:
            yield from part.resume(job.task)
            self.resumed_from = self._furthest = part.size
            meter = Meter(job.task, job.remote.size)
            yield meter.now(part.size)
            patience = Patience(self._settings)
            while part.size < job.remote.size:
                try:
                    yield from self._transfer(part, meter, patience)
                except Transient as trouble:
                    if (wait := patience.next_wait(trouble)) is None:
                        raise Interrupted(
                            job.task, part.size, job.remote.size, trouble.reason
                        ) from trouble
                    yield _waiting(job.task, trouble, wait)
                    time.sleep(wait)
            yield meter.now(part.size)
            return part.finish(job.target, job.expected)

    def _transfer(
        self, part: Part, meter: Meter, patience: Patience
    ) -> Generator[Event, None, None]:
        """One request, until its end. Raises Transient when it ends early."""
        with self._client.open(self._job.remote, part.size) as body:
            if body.start < part.size:
                yield Warning(f"{self._job.task}: the server cannot resume, starting over", "range")
                part.restart()
            for chunk in body:
                room = self._job.remote.size - part.size
                part.append(chunk[:room])
                self.bytes_fetched += len(chunk)
                if part.size > self._furthest:  # bytes that come again are no progress
                    self._furthest = part.size
                    patience.progressed()
                if event := meter.tick(part.size):
                    yield event
                if len(chunk) >= room:
                    return
        raise Transient("the connection was closed early")


def _waiting(task: str, trouble: Transient, wait: float) -> State:
    return State(task, "waiting", f"{trouble.reason}; again in {wait:.1f} s")
