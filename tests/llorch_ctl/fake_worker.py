"""A worker's HTTP face that says what a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class FakeWorker(ThreadingHTTPServer):
    """Answers every POST with `status` and, as events or as one body, `records`.

    With `hold` it sends the records and then waits for the client to hang up, which it notes in
    `hung_up`.
    """

    daemon_threads = False

    def __init__(
        self, records: Sequence[dict[str, Any] | str], status: int = 200, hold: bool = False
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.records = records
        self.status = status
        self.hold = hold
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.hung_up = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @contextmanager
    def running(self) -> Iterator[Self]:
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            thread.join()
            self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FakeWorker

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, headers, body))
        self.send_response(self.server.status)
        self.send_header("retry-after", "7")
        self.end_headers()
        for record in self.server.records:
            text = record if isinstance(record, str) else json.dumps(record)
            line = text if self.server.status != 200 else f"data: {text}\n\n"
            self.wfile.write(line.encode())
        if self.server.hold:
            self.connection.recv(1)
            self.server.hung_up.set()

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""
