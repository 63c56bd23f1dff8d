"""Composition root: settings, socket, app, model, engine; and the same in reverse order."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from pool_core.errors import LlorchError
from pool_core.spawn.report import WorkerExit, WorkerStatus
from worker.api.app import create_app
from worker.api.service import LoadedModel, Service
from worker.chat.format import ChatFormat
from worker.chat.sandbox import TemplateSandbox
from worker.engine.async_engine import AsyncEngine
from worker.engine.runner import ModelRunner
from worker.heap import return_large_blocks
from worker.http_server import HttpServer
from worker.keeping import Keeping, ModelDigest, open_keeping
from worker.listener import CannotListen, listen
from worker.loading import load_in_thread, load_model
from worker.log import configure_logging
from worker.reports import Reports
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)

DRAIN_S = 10.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(settings: WorkerSettings) -> WorkerExit:
    """Serve until a signal comes or the model cannot be loaded. Blocks; owns the main thread."""
    configure_logging()
    return_large_blocks()
    reports = Reports(settings)
    try:
        listener = listen(settings.host, settings.port)
    except CannotListen as error:
        return _failed(reports, str(error), error.exit)
    with listener:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(Worker(settings, reports).run(listener))


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it runs, else asyncio's own: the same, at about half the cost of a token."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class Worker:
    """One worker's life, from its socket to its exit code. Lives in the event loop."""

    def __init__(self, settings: WorkerSettings, reports: Reports) -> None:
        self._settings = settings
        self._reports = reports
        self._service = Service(settings)
        self._stop = asyncio.Event()

    async def run(self, listener: socket.socket) -> WorkerExit:
        http = HttpServer(create_app(self._service), self._settings.limits)
        serving = asyncio.create_task(http.serve(sockets=[listener]))
        serving.add_done_callback(self._on_server_end)
        self._reports.send(WorkerStatus.STARTING, port=listener.getsockname()[1])
        with self._signals():
            try:
                code = await self._live()
            finally:
                http.should_exit = True
                await serving
        if code is WorkerExit.OK:
            self._reports.send(WorkerStatus.STOPPED, exit_code=int(code))
            log.info("stopped")
        return code

    async def _live(self) -> WorkerExit:
        with TemplateSandbox() as sandbox:  # it starts while the model loads
            return await self._load_and_serve(sandbox)

    async def _load_and_serve(self, sandbox: TemplateSandbox) -> WorkerExit:
        started = time.monotonic()
        load = partial(self._load_all, sandbox)
        loading = asyncio.create_task(load_in_thread(load, self._on_progress))
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not loading.done():
            self._leave_now(WorkerExit.OK)
        try:
            runner, keeping, chat = loading.result()
        except LlorchError as error:
            return _failed(self._reports, str(error), getattr(error, "exit", WorkerExit.FAILED))
        except Exception as error:
            log.exception("loading the model failed")
            return _failed(self._reports, f"{type(error).__name__}: {error}", WorkerExit.FAILED)
        try:
            engine = self._open(runner, keeping, chat, time.monotonic() - started)
            await stopping
            await self._drain(engine)
        finally:
            runner.close()
        return WorkerExit.OK

    def _load_all(
        self, sandbox: TemplateSandbox, on_progress: Callable[[float], None]
    ) -> tuple[ModelRunner, Keeping, ChatFormat]:
        digest = ModelDigest(self._settings)
        runner = self.load(on_progress)
        keeping = open_keeping(self._settings, runner.info, digest)
        return runner, keeping, ChatFormat.load(runner.info, runner.vocab, sandbox)

    def load(self, on_progress: Callable[[float], None]) -> ModelRunner:
        return load_model(self._settings, on_progress)

    def _on_progress(self, share: float) -> None:
        if self._service.status is WorkerStatus.STARTING:
            self._service.progress = share
            self._reports.send(WorkerStatus.STARTING, progress=round(share, 3))

    def _open(
        self, runner: ModelRunner, keeping: Keeping, chat: ChatFormat, load_seconds: float
    ) -> AsyncEngine:
        """Take requests from here on, and say so."""
        from worker.llama.grammar import GrammarCompiler

        info, vocab, settings = runner.info, runner.vocab, self._settings
        loop = asyncio.get_running_loop()

        def on_stuck(reason: str) -> None:  # in another thread
            loop.call_soon_threadsafe(self._on_stuck, reason)

        engine = AsyncEngine(
            runner,
            archive=keeping.archive,
            max_waiting=settings.limits.queue,
            max_running=min(settings.slots, runner.layout.num_slots),
            drafts=settings.drafts,
            step_timeout_s=settings.step_timeout_s,
            on_stuck=on_stuck,
        )
        engine.start()
        name = settings.model_path.name
        model = LoadedModel(
            settings.model_id,
            name,
            engine,
            vocab,
            info,
            chat,
            int(time.time()),
            runner.memory,
            keeping.disk_problem,
            GrammarCompiler(vocab),
            keeping.fingerprint,
        )
        self._service.ready(model)
        self._reports.send(
            WorkerStatus.READY,
            progress=1.0,
            device=info.device,
            layers_on_device=info.layers_on_device,
            layers_total=info.layers_total,
            bytes_on_device=info.bytes_on_device,
            load_seconds=round(load_seconds, 3),
            context_length=info.context_length,
            build=info.build,
        )
        url = self._reports.latest.url
        log.info("ready: %s on %s at %s", settings.model_id, info.device, url)
        return engine

    async def _drain(self, engine: AsyncEngine) -> None:
        self._service.drain()
        self._reports.send(WorkerStatus.DRAINING)
        log.info("draining: %d requests in flight", engine.stats().running)
        await engine.stop(DRAIN_S)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: int) -> None:
        """The first asks, the second insists."""
        if self._stop.is_set():
            self._leave_now(128 + number)
        self._stop.set()

    def _on_server_end(self, serving: asyncio.Task[None]) -> None:
        """Should the server ever end by itself, so does the worker."""
        if not serving.cancelled() and (error := serving.exception()):
            os._exit(_failed(self._reports, f"the HTTP server ended: {error}", WorkerExit.FAILED))

    def _on_stuck(self, reason: str) -> None:
        """A thread that computes for ever cannot be ended, only the process around it."""
        os._exit(_failed(self._reports, reason, WorkerExit.FAILED))

    def _leave_now(self, code: int) -> None:
        """End the process under the feet of a thread that is inside llama.cpp and cannot be told
        to stop; the memory goes back with the process."""
        self._reports.send(WorkerStatus.STOPPED, exit_code=code)
        log.info("stopped at once")
        os._exit(code)


def _failed(reports: Reports, reason: str, code: WorkerExit) -> WorkerExit:
    """Say in one line why there will be no worker, to the log and to the spawner."""
    line = " ".join(reason.split())
    log.error("%s", line, extra={"data": {"exit_code": int(code)}})
    reports.send(WorkerStatus.FAILED, reason=line, exit_code=int(code))
    return code
