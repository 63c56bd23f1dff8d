"""What a measurement needs of a server."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import psutil

from benchmarks.client import Answer, Request, ask_all
from benchmarks.errors import BenchmarkError


@dataclass(frozen=True, slots=True)
class Ask:
    """A raw prompt to be continued by exactly `tokens` tokens, greedily at `temperature` 0.

    `agent` and `reproducible` mean something to our worker only. `reuse` false tells llama-server
    not to look for what it has of the prompt; `logit_bias` maps token ids to what is added.
    """

    prompt: str
    tokens: int
    temperature: float = 0.0
    seed: int = 1
    agent: str | None = None
    reproducible: bool = False
    reuse: bool = True
    logit_bias: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a server says of an answer. `cached` counts prompt tokens it did not compute."""

    tokens: int
    prompt_tokens: int
    cached: int


class Server(Protocol):
    """A running server. `close` ends its process and waits for it."""

    @property
    def name(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def pid(self) -> int: ...
    def request(self, ask: Ask) -> Request: ...
    def outcome(self, answer: Answer) -> Outcome: ...
    def close(self) -> None: ...


def put(server: Server, ask: Ask) -> tuple[Answer, Outcome]:
    """Ask once, alone."""
    answer = put_all(server, [[ask]])[0][0]
    return answer, server.outcome(answer)


def put_all(server: Server, scripts: Iterable[Iterable[Ask]]) -> list[list[Answer]]:
    """A client for each script, all at once. Raises BenchmarkError for an answer cut short."""
    asked = [list(script) for script in scripts]
    requests = [[server.request(ask) for ask in script] for script in asked]
    answers = ask_all(server.port, requests)
    for script, replies in zip(asked, answers, strict=True):
        for ask, answer in zip(script, replies, strict=True):
            if (tokens := server.outcome(answer).tokens) != ask.tokens:
                raise BenchmarkError(f"{server.name} gave {tokens} tokens of {ask.tokens}")
    return answers


def put_when_ready(server: Server, ask: Ask, *, every_s: float = 0.005) -> Answer:
    """Ask until it is answered: the server may still be starting, or not be listening yet."""
    script = [[server.request(ask)]]
    while True:
        try:
            return ask_all(server.port, script)[0][0]
        except (OSError, BenchmarkError) as error:
            if not is_running(server.pid):
                raise BenchmarkError(f"{server.name} did not start: {error}") from error
            time.sleep(every_s)


def events(answer: Answer) -> Iterator[dict[str, Any]]:
    """The JSON of an answer's server-sent events."""
    for line in bytes(answer.body).splitlines():
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])


def is_running(pid: int) -> bool:
    """Whether the process lives; one that has ended and waits to be noticed does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def private_bytes(pid: int) -> int:
    """Memory of this process alone: the model file, which is mapped, does not count."""
    return int(psutil.Process(pid).memory_full_info().uss)
