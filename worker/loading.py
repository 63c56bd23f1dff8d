"""Loading the model; in a thread of its own, while the event loop answers `/health`."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from worker.engine.runner import ModelRunner
from worker.settings import WorkerSettings

T = TypeVar("T")
Progress = Callable[[float], None]

_PROGRESS_EVERY_S = 0.1


def load_model(settings: WorkerSettings, on_progress: Progress) -> ModelRunner:
    """The model that was asked for; `on_progress` is told the loaded share, 0 to 1.

    Raises LlorchError when it cannot be had.
    """
    # Importing llama.cpp takes a while, and may not be possible at all.
    from worker.llama.options import LoadOptions
    from worker.llama.runner import LlamaRunner

    options = LoadOptions(
        model_path=settings.model_path,
        backend=settings.backend,
        rpc=settings.rpc,
        gpu=settings.gpu,
        ctx=settings.ctx,
        slots=settings.slots,
        threads=settings.threads,
        kv_type=settings.kv_type,
        kv_layout=settings.kv_layout,
    )
    return LlamaRunner.load(options, on_progress)


async def load_in_thread(load: Callable[[Progress], T], on_progress: Progress) -> T:
    """What `load` returns. `on_progress` is called in the event loop, at most ten times a second.

    When this is cancelled, `load` runs on in its daemon thread and nobody hears of it.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def report(share: float) -> None:
        loop.call_soon_threadsafe(on_progress, share)

    def run() -> None:
        try:
            result = load(_Throttle(report))
        except BaseException as error:
            loop.call_soon_threadsafe(_unless_done, outcome, outcome.set_exception, error)
        else:
            loop.call_soon_threadsafe(_unless_done, outcome, outcome.set_result, result)

    threading.Thread(target=run, name="load", daemon=True).start()
    return await outcome


def _unless_done(outcome: asyncio.Future[Any], settle: Callable[[Any], None], value: Any) -> None:
    if not outcome.done():
        settle(value)


class _Throttle:
    """Passes on a share now and then; llama.cpp reports every tensor."""

    def __init__(self, target: Progress) -> None:
        self._target = target
        self._last = -_PROGRESS_EVERY_S

    def __call__(self, share: float) -> None:
        now = time.monotonic()
        if now - self._last >= _PROGRESS_EVERY_S:
            self._last = now
            self._target(share)
