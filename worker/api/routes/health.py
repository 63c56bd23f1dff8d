"""`GET /health`: how the worker is, from its first moment to its last; never needs a key."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import psutil
from fastapi import APIRouter
from starlette.responses import Response

from pool_core.spawn.report import WorkerStatus
from worker.api.deps import ServiceDep
from worker.api.json_text import to_json
from worker.api.service import LoadedModel, Service
from worker.engine.stats import EngineStats
from worker.settings import WorkerSettings

router = APIRouter()


@router.get("/health")
async def health(service: ServiceDep) -> dict[str, Any]:
    settings = service.settings
    facts = {
        "status": service.status,
        "progress": service.progress,
        "model": settings.model_id,
        "backend": settings.backend,
        "worker_id": settings.worker_id,
        "pid": os.getpid(),
        "rss_bytes": psutil.Process().memory_info().rss,
    }
    model = service.model
    return facts | (_model_facts(model, settings) if model else {})


@router.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
@router.api_route("/api/hello", methods=["GET", "HEAD"], include_in_schema=False)
async def hello(service: ServiceDep) -> dict[str, Any]:
    """Some clients ask whether anybody is there at all before they say anything."""
    return {"status": service.status}


@router.get("/health/live")
async def live(service: ServiceDep) -> dict[str, Any]:
    """200 as long as the process answers."""
    return {"status": service.status}


@router.get("/health/ready")
async def ready(service: ServiceDep) -> Response:
    """503 until the model is loaded, and from the moment that the worker is told to stop."""
    return _probe(service, is_well=service.status is WorkerStatus.READY)


@router.get("/health/startup")
async def startup(service: ServiceDep) -> Response:
    """503 until the model is loaded."""
    return _probe(service, is_well=service.model is not None)


def _probe(service: Service, *, is_well: bool) -> Response:
    body = to_json({"status": service.status, "progress": service.progress})
    headers = {} if is_well else {"retry-after": "2"}
    return Response(body, 200 if is_well else 503, headers, media_type="application/json")


def _model_facts(model: LoadedModel, settings: WorkerSettings) -> dict[str, Any]:
    info, vocab, stats = model.info, model.vocab, model.engine.stats()
    return {
        "device": info.device,
        "layers_on_device": info.layers_on_device,
        "layers_total": info.layers_total,
        "bytes_on_device": info.bytes_on_device,
        "context_length": info.context_length,
        "vocab_size": vocab.size,
        "tokenizer": vocab.kind,
        "quantization": info.quantization,
        "pooling": info.pooling,
        "architecture": info.architecture,
        "build": info.build,
        "slots": stats.slots,
        "running": stats.running,
        "waiting": stats.waiting,
        "cells_used": stats.cache.cells_used,
        "cells_total": stats.cache.cells_total,
        "tokens_total": stats.tokens_total,
        "step_s": round(model.engine.step_seconds, 3),
        "kv_type": settings.kv_type,
        "kv_layout": settings.kv_layout,
        "memory": asdict(model.memory),
        "speculation": {
            "on": settings.drafts and model.memory.can_trim,
            "drafted": stats.drafted_total,
            "accepted": stats.accepted_total,
        },
        "cache": _cache_facts(stats, model.disk_problem),
    }


def _cache_facts(stats: EngineStats, disk_problem: str) -> dict[str, Any]:
    """Hot is in the context, warm in RAM, cold on disk; what is warm may be cold too."""
    cache, archive = stats.cache, stats.cache.archive
    tiers = {
        "hot": {"count": cache.idle, "agents": cache.idle_agents},
        "warm": {"count": 0, "bytes": 0, "limit": 0},
        "cold": {"count": 0, "bytes": 0, "limit": 0},
    }
    if archive is not None:
        tiers["warm"] = _tier(archive.warm_count, archive.warm_bytes, archive.warm_limit)
        tiers["cold"] = _tier(archive.cold_count, archive.cold_bytes, archive.cold_limit)
    return {
        "level": cache.level,
        "layout": "split" if cache.is_split else "unified",
        **tiers,
        "prompt_tokens_total": stats.prompt_tokens_total,
        "cached_tokens_total": stats.cached_tokens_total,
        "restored_tokens_total": stats.restored_tokens_total,
        "saves_total": cache.saves_total,
        "restores_total": cache.restores_total,
        "useless_restores_total": cache.useless_restores_total,
        "evictions_total": cache.evictions_total,
        "preemptions_total": cache.preemptions_total,
        "resets_total": stats.resets_total,
        "reshapes_total": stats.reshapes_total,
        "pending_writes": archive.pending_writes if archive else 0,
        "failures": dict(cache.failures),
        "disk_problem": disk_problem,
    }


def _tier(count: int, size: int, limit: int) -> dict[str, int]:
    return {"count": count, "bytes": size, "limit": limit}
