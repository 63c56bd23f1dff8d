"""One call of `benchmarks/run`: its settings, and the servers made from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from benchmarks.models import SHAPES, make_model
from benchmarks.peer.cache import cache_folder
from benchmarks.peer.llama_server import build_llama_server
from benchmarks.servers.llama_server import LlamaServer
from benchmarks.servers.worker import Worker
from benchmarks.table import Table
from tests.rigs.worker import MODELS


class Report(Protocol):
    def __call__(self, *tables: Table) -> None: ...


@dataclass(frozen=True)
class Session:
    """What was asked on the command line; `say` tells a person what is going on.

    `worker_options` and `peer_options` are added to every command line of that server.
    """

    models: tuple[str, ...]
    clients: tuple[int, ...]
    turns: int
    threads: int
    quick: bool
    backend: str
    worker_options: tuple[str, ...]
    peer_options: tuple[str, ...]
    llama_server_path: Path | None
    model_folder: Path | None
    say: Callable[[str], None]
    report: Report

    def model(self, name: str) -> Path:
        """A shape with random weights, made on first use, or a reference model by its name."""
        if name in SHAPES:
            return make_model(SHAPES[name], self.model_folder or cache_folder() / "models")
        return MODELS / f"{name}.gguf"

    @cached_property
    def llama_server_program(self) -> Path:
        """Built on first use, which takes minutes."""
        return self.llama_server_path or build_llama_server(self.backend, self.say)

    def worker(
        self, model: str, ctx: int, slots: int, *options: str, python: tuple[str, ...] = ()
    ) -> Worker:
        """Our worker: started now, ready once its context is entered."""
        size = ("--ctx", str(ctx), "--slots", str(slots), "--threads", str(self.threads))
        backend = ("--backend", self.backend)
        return Worker(
            self.model(model), *size, *backend, *options, *self.worker_options, python=python
        )

    def llama_server(self, model: str, ctx: int, slots: int, *options: str) -> LlamaServer:
        """The peer with the same context, slots and threads."""
        threads = str(self.threads)
        size = ("-c", str(ctx), "-np", str(slots), "-t", threads, "-tb", threads)
        device = () if self.backend == "cpu" else ("-ngl", "999")
        return LlamaServer(
            self.llama_server_program,
            self.model(model),
            *(*size, *device, *options, *self.peer_options),
        )
