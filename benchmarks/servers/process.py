"""A server's process, from its start until it has ended."""

from __future__ import annotations

import http.client
import subprocess
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from benchmarks.errors import BenchmarkError
from benchmarks.servers.server import free_port


class ServerProcess:
    """Started at once, on a free port of 127.0.0.1 that it is told by `--host` and `--port`;
    entering the context waits until GET `ready_path` is answered with 200."""

    name: str
    ready_path: str

    def __init__(self, argv: Sequence[str], options: Sequence[str]) -> None:
        self.port = free_port()
        self._process = subprocess.Popen(
            [*argv, "--host", "127.0.0.1", "--port", str(self.port), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> Self:
        try:
            self._wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait_ready(self) -> None:
        """Raises BenchmarkError when the process ends first."""
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            try:
                connection.request("GET", self.ready_path)
                if connection.getresponse().status == 200:
                    return
            except OSError:
                if (code := self._process.poll()) is not None:
                    raise BenchmarkError(f"{self.name} ended with {code}") from None
            finally:
                connection.close()
            time.sleep(0.02)
