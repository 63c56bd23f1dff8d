"""Asking a worker over HTTP, and keeping exactly what it answered."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from llorch_ctl.matrix.spec import Case
from llorch_ctl.matrix.sse import ChatReader, ExecuteReader, Reader
from llorch_ctl.matrix.trace import Answer

SEED = 42
NUM_LIKELIEST = 2
_HEALTH_TIMEOUT_S = 10.0


class AskFailed(Exception):
    """The worker lives and did not answer this request; the text is the reason."""


class WorkerGone(Exception):
    """The connection broke, or nobody listens any more."""


class WorkerClient:
    """One worker. `ask` may run in many threads; `abort` ends them all, from any thread."""

    def __init__(
        self, host: str, port: int, model: str, token: str | None = None, timeout: float = 300.0
    ) -> None:
        self._address = (host, port)
        self._model = model
        self._timeout = timeout
        self._headers = {"content-type": "application/json", "connection": "close"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        # The sockets, because a connection forgets its own once the answer has begun.
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._aborted = False

    @property
    def num_open(self) -> int:
        """How many questions wait for an answer now."""
        return len(self._open)

    def health(self) -> dict[str, Any]:
        """What the worker says of itself. Raises WorkerGone, AskFailed."""
        with self._connection(_HEALTH_TIMEOUT_S) as connection:
            connection.request("GET", "/health", headers=self._headers)
            response = connection.getresponse()
            try:
                record = json.loads(response.read())
            except ValueError:
                raise AskFailed(f"/health: {response.status} without JSON") from None
        return record if isinstance(record, dict) else {}

    def ask(self, case: Case, *, reproducible: bool = True) -> Answer:
        """Greedy, with log-probabilities. Raises WorkerGone, AskFailed."""
        body = {
            "max_tokens": case.max_tokens,
            "temperature": 0.0,
            "seed": SEED,
            "stop": list(case.stop),
            "reproducible": reproducible,
        }
        if case.mode == "chat":
            body |= {"model": self._model, "messages": case.chat, "stream": True}
            body |= {"logprobs": True, "top_logprobs": NUM_LIKELIEST}
            return self._stream("/v1/chat/completions", body, ChatReader())
        body |= {"job_id": _job_id(case.name), "prompt": case.prompt, "logprobs": NUM_LIKELIEST}
        return self._stream("/execute", body, ExecuteReader())

    def time(self, prompt: str, max_tokens: int) -> Answer:
        """Greedy, `max_tokens` whatever they say, with the worker's own clock."""
        body = {"job_id": "matrix-speed", "prompt": prompt, "max_tokens": max_tokens}
        body |= {"temperature": 0.0, "metrics": True, "reproducible": False, "ignore_eos": True}
        return self._stream("/execute", body, ExecuteReader())

    def abort(self) -> None:
        """Break every connection, now and later: what waits on one raises WorkerGone."""
        with self._lock:
            self._aborted = True
            sockets = list(self._open)
        for sock in sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _stream(self, path: str, body: Mapping[str, Any], reader: Reader) -> Answer:
        started = time.monotonic()
        first = 0.0
        with self._connection(self._timeout) as connection:
            connection.request("POST", path, json.dumps(body).encode(), self._headers)
            response = connection.getresponse()
            if response.status != 200:
                raise AskFailed(_refusal(response.status, response.read(65536)))
            for line in response:
                elapsed = time.monotonic() - started
                if elapsed > self._timeout:
                    raise AskFailed(f"no whole answer within {self._timeout:g} s")
                if reader.feed(line):
                    first = first or elapsed
                if reader.error:
                    raise AskFailed(reader.error)
        if not reader.is_complete:
            raise WorkerGone("the answer broke off")
        return reader.answer(first)

    @contextmanager
    def _connection(self, timeout: float) -> Iterator[http.client.HTTPConnection]:
        host, port = self._address
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
        sock = None
        try:
            connection.connect()
            sock = connection.sock
            with self._lock:
                self._open.add(sock)
            if self._aborted:
                raise WorkerGone("cancelled")
            yield connection
        except TimeoutError:
            raise AskFailed(f"nothing heard for {timeout:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise WorkerGone(str(error) or type(error).__name__) from None
        finally:
            with self._lock:
                self._open.discard(sock)
            connection.close()


def _job_id(name: str) -> str:
    return f"matrix-{name}"[:128]


def _refusal(status: int, body: bytes) -> str:
    """A worker's or a server's error body as one line."""
    try:
        error = json.loads(body)["error"]
        return f"{status}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return f"{status} {http.client.responses.get(status, '')}".strip()
