"""One call of `benchmarks/run`: its settings, and the servers made from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.models import SHAPES, make_model
from benchmarks.peer.cache import cache_folder
from benchmarks.peer.llama_server import build_llama_server
from benchmarks.reporter import Reporter
from benchmarks.servers.llama_server import LlamaServer, version_of
from benchmarks.servers.worker import Worker
from benchmarks.table import Table
from tests.rigs.worker import MODELS


@dataclass(frozen=True)
class Session:
    """What was asked on the command line.

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
    reporter: Reporter

    def say(self, text: str) -> None:
        self.reporter.say(text)

    def report(self, *tables: Table) -> None:
        self.reporter.report(*tables)

    def model(self, name: str) -> Path:
        """A shape with random weights, made on first use, or a reference model by its name."""
        if name in SHAPES:
            return make_model(SHAPES[name], self.model_folder or cache_folder() / "models")
        return MODELS / f"{name}.gguf"

    @cached_property
    def llama_server_program(self) -> Path:
        """Built on first use, which takes minutes."""
        program = self.llama_server_path or build_llama_server(self.backend, self.say)
        self.reporter.note_peer(f"llama-server {version_of(program)}")
        return program

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
