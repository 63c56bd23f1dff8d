"""ggml's RPC server, lending this machine's CPU to a worker."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pool_core.spawn.report import WorkerReport

TIMEOUT_S = 30.0


@dataclass
class RpcServer:
    process: subprocess.Popen[bytes]
    report: WorkerReport
    lease: int

    @property
    def endpoint(self) -> str:
        return f"{self.report.host}:{self.report.port}"


@contextmanager
def rpc_server(*options: str) -> Iterator[RpcServer]:
    """Runs until the lease, which this end of a pipe is, has ended."""
    report_read, report_write = os.pipe()
    lease_read, lease_write = os.pipe()
    argv = [sys.executable, "-m", "worker", "rpc-server", *options]
    argv += ["--report-fd", str(report_write), "--lease-fd", str(lease_read)]
    process = subprocess.Popen(
        argv,
        pass_fds=(report_write, lease_read),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(report_write)
    os.close(lease_read)
    try:
        with os.fdopen(report_read) as pipe:
            report = WorkerReport.from_json(pipe.readline())
        yield RpcServer(process, report, lease_write)
    finally:
        os.close(lease_write)
        process.wait(TIMEOUT_S)
