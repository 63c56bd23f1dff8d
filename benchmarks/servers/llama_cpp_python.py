"""`python -m llama_cpp.server`, which answers one request at a time."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.client import Answer, Request, post
from benchmarks.servers.llama_server import end, wait_for_200
from benchmarks.servers.server import Ask, Outcome, events, free_port


class LlamaCppPython:
    """The process, of a Python that has llama-cpp-python[server]."""

    name = "llama_cpp.server"

    def __init__(self, python: Path, model: Path, *options: str) -> None:
        self.port = free_port()
        argv = [str(python), "-m", "llama_cpp.server", "--model", str(model)]
        argv += ["--host", "127.0.0.1", "--port", str(self.port)]
        self._process = subprocess.Popen(
            [*argv, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> Self:
        try:
            wait_for_200(self.port, "/v1/models", self._process, self.name)
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

    def close(self) -> None:
        end(self._process)

    @property
    def pid(self) -> int:
        return self._process.pid

    def request(self, ask: Ask) -> Request:
        body: dict[str, Any] = {
            "prompt": ask.prompt,
            "max_tokens": ask.tokens,
            "temperature": ask.temperature,
            "stream": True,
        }
        payload = post("/v1/completions", json.dumps(body).encode())
        return Request(payload, first=b"data: {", last=b"data: [DONE]")

    def outcome(self, answer: Answer) -> Outcome:
        """It reports no counts; an event is a token."""
        choices = [event["choices"][0] for event in events(answer)]
        return Outcome(sum(choice["finish_reason"] is None for choice in choices), 0, 0)
