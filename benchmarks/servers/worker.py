"""Our worker."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.client import Answer, Request, post
from benchmarks.servers.server import Ask, Outcome, events, free_port
from tests.rigs.worker import WorkerProcess


class Worker:
    """The process, started at once; entering the context waits until it takes requests."""

    name = "llorch"

    def __init__(self, model: Path, *options: str, python: tuple[str, ...] = ()) -> None:
        self.port = free_port()
        self.process = WorkerProcess(
            *(*options, "--port", str(self.port)), model=model, program=(*python, "-m", "worker")
        )

    def __enter__(self) -> Self:
        try:
            self.process.wait_ready()
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
        self.process.__exit__(None, None, None)

    @property
    def pid(self) -> int:
        return self.process.process.pid

    def request(self, ask: Ask) -> Request:
        body: dict[str, Any] = {
            "prompt": ask.prompt,
            "max_tokens": ask.tokens,
            "ignore_eos": True,
            "reproducible": ask.reproducible,
            "metrics": True,
        }
        if ask.temperature:
            body |= {"temperature": ask.temperature, "seed": ask.seed}
        if ask.agent is not None:
            body["agent"] = ask.agent
        if ask.logit_bias:
            body["logit_bias"] = {str(token): bias for token, bias in ask.logit_bias.items()}
        return execute(body)

    def outcome(self, answer: Answer) -> Outcome:
        metrics = next(event for event in events(answer) if event["type"] == "metrics")
        return Outcome(
            metrics["completion_tokens"], metrics["prompt_tokens"], metrics["cached_tokens"]
        )


def execute(body: dict[str, Any]) -> Request:
    """`POST /execute` with these fields."""
    payload = post("/execute", json.dumps({"job_id": "benchmark", **body}).encode())
    return Request(payload, first=b'"type":"token"', last=b'"type":"end"')
