"""What is true of a worker now: its own last words, checked against its process."""

from __future__ import annotations

from pool_core.spawn.logs import message_of, tail
from pool_core.spawn.record import WorkerFile, WorkerRecord
from pool_core.spawn.registry import WorkerRegistry
from pool_core.spawn.report import WorkerReport, WorkerStatus


def look(registry: WorkerRegistry, file: WorkerFile) -> WorkerRecord:
    """The worker of `file` as it is at this moment."""
    # Liveness first: a worker that ends in between has then already written its last report.
    alive = file.process.is_alive()
    report = registry.report(file.id) or WorkerReport(
        WorkerStatus.STARTING, file.process.pid, host=file.spec.host
    )
    if not alive:
        return _ended(file, report)
    processes = [file.process, *(companion.process for companion in file.companions)]
    rss = sum(process.rss_bytes() for process in processes)
    return WorkerRecord(file, report, report.status, report.reason, rss)


def _ended(file: WorkerFile, report: WorkerReport) -> WorkerRecord:
    if report.status in (WorkerStatus.STOPPED, WorkerStatus.FAILED):
        return WorkerRecord(file, report, report.status, report.reason)
    # Another process started it, so its exit status was never ours to collect.
    reason = "process is gone (killed or crashed)"
    if last := tail(file.log, 1):
        reason += f"; last log line: {message_of(last[0])}"
    return WorkerRecord(file, report, WorkerStatus.FAILED, reason)
