"""The worker's HTTP application on a real socket, over a scripted model."""

from __future__ import annotations

import asyncio
import atexit
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from pool_core.spawn.report import WorkerStatus
from tests.fakes.runner import FakeRunner
from worker.api.app import create_app
from worker.api.service import LoadedModel, Service
from worker.chat.format import ChatFormat
from worker.chat.sandbox import TemplateSandbox
from worker.engine.async_engine import AsyncEngine
from worker.engine.cache.archive import Archive
from worker.engine.cache.fingerprint import Fingerprint
from worker.http_server import HttpServer
from worker.listener import listen
from worker.llama.grammar import GrammarCompiler
from worker.serve import new_event_loop
from worker.settings import WorkerSettings


@cache
def template_sandbox() -> TemplateSandbox:
    """One for all tests of a process: starting it takes as long as a test."""
    sandbox = TemplateSandbox()
    atexit.register(sandbox.close)
    return sandbox


FINGERPRINT = Fingerprint("f" * 64, "fake 1", "f16")


class ApiServer:
    """`url` is where it listens; `status` may be set to see how it refuses."""

    def __init__(self, url: str, service: Service, runner: FakeRunner) -> None:
        self.url = url
        self.service = service
        self.runner = runner

    @property
    def engine(self) -> AsyncEngine:
        assert self.service.model is not None
        return self.service.model.engine

    @property
    def running(self) -> int:
        return self.engine.stats().running


@contextmanager
def serve_api(
    runner: FakeRunner | None = None,
    *,
    token: str | None = None,
    status: WorkerStatus = WorkerStatus.READY,
    max_waiting: int = 64,
    max_buffered_events: int = 4096,
    compiler: Any = ...,
    archive: Archive | None = None,
    **settings: Any,
) -> Iterator[ApiServer]:
    """A server that is up; with status `starting` it has no model yet."""
    runner = runner or FakeRunner(b"Paris.")
    service = Service(WorkerSettings(Path("/m/fake.gguf"), "fake", "cpu", token=token, **settings))
    listener = listen("127.0.0.1", 0)
    # Connections inherit it: a client that does not read is noticed after kilobytes.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    http = HttpServer(create_app(service), service.settings.limits)
    is_up = threading.Event()

    async def run() -> None:
        engine = AsyncEngine(
            runner,
            archive=archive,
            max_waiting=max_waiting,
            max_buffered_events=max_buffered_events,
        )
        engine.start()
        if status is not WorkerStatus.STARTING:
            service.ready(
                LoadedModel(
                    "fake",
                    "fake.gguf",
                    engine,
                    runner.vocab,
                    runner.info,
                    ChatFormat.load(runner.info, runner.vocab, template_sandbox()),
                    1_700_000_000,
                    compiler=GrammarCompiler(runner.vocab) if compiler is ... else compiler,
                    fingerprint=lambda: FINGERPRINT,
                )
            )
        service.status = status
        is_up.set()
        await http.serve(sockets=[listener])
        await engine.stop(drain_s=0)

    def serve() -> None:
        with asyncio.Runner(loop_factory=new_event_loop) as loop:
            loop.run(run())

    thread = threading.Thread(target=serve, name="api-server")
    with listener:
        thread.start()
        is_up.wait()
        try:
            yield ApiServer(f"http://127.0.0.1:{listener.getsockname()[1]}", service, runner)
        finally:
            runner.gate.set()
            http.should_exit = True
            thread.join()
