"""`GET /metrics`: for Prometheus, at any time of the worker's life."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
from fastapi import APIRouter
from starlette.responses import Response

from pool_core.spawn.report import WorkerStatus
from worker.api.deps import ServiceDep
from worker.api.metrics import CONTENT_TYPE, head, sample
from worker.api.service import LoadedModel, Service

router = APIRouter()
Row = tuple[str, str, str, float]


@router.get("/metrics", response_class=Response)
async def metrics(service: ServiceDep) -> Response:
    lines = [*_rows(_process(service)), *service.metrics.lines()]
    if service.model is not None:
        lines += _rows(_engine(service.model))
        lines += _rows(_cache(service.model))
    return Response("\n".join(lines) + "\n", media_type=CONTENT_TYPE)


def _rows(rows: Iterator[Row]) -> Iterator[str]:
    for name, kind, help, value in rows:
        yield from head(f"llorch_{name}", kind, help)
        yield sample(f"llorch_{name}", value)


def _process(service: Service) -> Iterator[Row]:
    process = psutil.Process()
    yield "ready", "gauge", "1 while requests are taken.", service.status is WorkerStatus.READY
    yield "load_progress", "gauge", "Share of the model that is loaded.", service.progress
    yield "start_time_seconds", "gauge", "Unix time of the start.", process.create_time()
    rss = process.memory_info().rss
    yield "resident_memory_bytes", "gauge", "Resident memory of the process.", rss


def _engine(model: LoadedModel) -> Iterator[Row]:
    stats = model.engine.stats()
    counts: list[tuple[str, str, int]] = [
        ("requests_total", "Generations that were queued.", stats.requests_total),
        ("failed_total", "Generations that failed.", stats.failed_total),
        ("cancelled_total", "Generations that were cancelled.", stats.cancelled_total),
        ("steps_total", "Steps of the engine.", stats.steps_total),
        ("prompt_tokens_total", "Tokens of prompts.", stats.prompt_tokens_total),
        ("cached_tokens_total", "Of these, not computed again.", stats.cached_tokens_total),
        ("restored_tokens_total", "Of these, from RAM or disk.", stats.restored_tokens_total),
        ("output_tokens_total", "Tokens generated.", stats.tokens_total),
        ("drafted_tokens_total", "Tokens guessed ahead.", stats.drafted_total),
        ("accepted_tokens_total", "Of these, right.", stats.accepted_total),
        ("context_resets_total", "Times the whole context was lost.", stats.resets_total),
        ("layout_changes_total", "Changes of the context's layout.", stats.reshapes_total),
    ]
    for name, help, count in counts:
        yield name, "counter", help, count
    yield "slots", "gauge", "Requests that may run at once.", stats.slots
    yield "running_requests", "gauge", "Requests that run.", stats.running
    yield "waiting_requests", "gauge", "Requests in the queue.", stats.waiting
    step = model.engine.step_seconds
    yield "step_seconds", "gauge", "How long the step that is running has been.", step


def _cache(model: LoadedModel) -> Iterator[Row]:
    cache = model.engine.stats().cache
    yield "kv_cells_used", "gauge", "Cells of the context in use.", cache.cells_used
    yield "kv_cells", "gauge", "Cells of the context.", cache.cells_total
    yield "cache_saves_total", "counter", "States saved.", cache.saves_total
    yield "cache_restores_total", "counter", "States restored.", cache.restores_total
    useless = cache.useless_restores_total
    yield "cache_useless_restores_total", "counter", "That shortened no prefill.", useless
    yield "cache_evictions_total", "counter", "Sequences moved out.", cache.evictions_total
    yield "preemptions_total", "counter", "Running sequences parked.", cache.preemptions_total
    failures = sum(cache.failures.values())
    yield "cache_failures_total", "counter", "States not kept or not restored.", failures
    if (archive := cache.archive) is not None:
        yield "cache_warm_bytes", "gauge", "States in RAM.", archive.warm_bytes
        yield "cache_cold_bytes", "gauge", "States on disk.", archive.cold_bytes
        yield "cache_pending_writes", "gauge", "States on their way.", archive.pending_writes
