"""`python -m llama_cpp.server`, which answers one request at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.client import Answer, Request, post
from benchmarks.servers.process import ServerProcess
from benchmarks.servers.server import Ask, Outcome, events


class LlamaCppPython(ServerProcess):
    """The process, of a Python that has llama-cpp-python[server]."""

    name = "llama_cpp.server"
    ready_path = "/v1/models"

    def __init__(self, python: Path, model: Path, *options: str) -> None:
        super().__init__([str(python), "-m", "llama_cpp.server", "--model", str(model)], options)

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
