"""`GET /health`: how the worker is, from its first moment to its last; never needs the token."""

from __future__ import annotations

import os
from typing import Any

import psutil
from fastapi import APIRouter

from worker.api.deps import ServiceDep
from worker.api.service import LoadedModel

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
    return facts | (_model_facts(service.model) if service.model else {})


def _model_facts(model: LoadedModel) -> dict[str, Any]:
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
        "architecture": info.architecture,
        "build": info.build,
        "slots": stats.slots,
        "running": stats.running,
        "waiting": stats.waiting,
        "cells_used": stats.cells_used,
        "cells_total": stats.cells_total,
        "tokens_total": stats.tokens_total,
    }
