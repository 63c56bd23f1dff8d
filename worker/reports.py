"""The worker's account of itself over its life, told to whoever spawned it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from pool_core.spawn.report import Reporter, WorkerReport, WorkerStatus
from worker.settings import WorkerSettings


class Reports:
    """Holds the latest report; each change is sent. Used from one thread."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._reporter = Reporter(settings.report_fd, settings.state_file)
        self.latest = WorkerReport(WorkerStatus.STARTING, os.getpid(), host=settings.host)

    def send(self, status: WorkerStatus, **changes: Any) -> None:
        self.latest = replace(self.latest, status=status, **changes)
        self._reporter.send(self.latest)
