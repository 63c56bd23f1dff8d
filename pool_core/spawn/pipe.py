"""The spawner's end of a report pipe."""

from __future__ import annotations

import os
import select
import time

from pool_core.spawn.report import WorkerReport


class ReportPipe:
    """Reads the reports of one starting process. Used from one thread.

    `write_fd` is for the child to inherit; `child_started` closes our copy of it, after which
    the end of the child is the end of the pipe.
    """

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        self._buffer = b""

    @property
    def write_fd(self) -> int:
        return self._write_fd

    def close(self) -> None:
        self.child_started()
        os.close(self._read_fd)

    def child_started(self) -> None:
        if self._write_fd >= 0:
            os.close(self._write_fd)
            self._write_fd = -1

    def read(self, timeout_s: float) -> WorkerReport | None:
        """The next report; None if none came in time. Raises EOFError when the child is gone.

        A line that is no report is passed over.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            while b"\n" in self._buffer:
                line, _, self._buffer = self._buffer.partition(b"\n")
                try:
                    return WorkerReport.from_json(line.decode())
                except (ValueError, TypeError):
                    continue
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._fill(left)

    def _fill(self, timeout_s: float) -> None:
        poller = select.poll()
        poller.register(self._read_fd, select.POLLIN)
        if poller.poll(timeout_s * 1000):
            chunk = os.read(self._read_fd, 65536)
            if not chunk:
                raise EOFError
            self._buffer += chunk
