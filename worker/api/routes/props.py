"""`GET /props`: what llama-server's clients ask of the model and its defaults."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from worker.api.deps import ModelDep
from worker.api.generate import default_max_tokens
from worker.engine.params import SamplingParams

router = APIRouter()

_NOT_DEFAULTS = ("constraint", "logit_bias", "logprobs")


@router.get("/props")
async def props(model: ModelDep) -> dict[str, Any]:
    context = model.engine.max_sequence_tokens
    defaults = SamplingParams(max_tokens=default_max_tokens(context), temperature=1.0)
    params = {name: value for name, value in asdict(defaults).items() if name not in _NOT_DEFAULTS}
    return {
        "default_generation_settings": {"n_ctx": context, "params": params},
        "total_slots": model.engine.stats().slots,
        "model_alias": model.id,
        "model_path": model.file_name,
        "modalities": {"vision": False, "audio": False},
        "chat_template": model.info.chat_template or "",
        "chat_template_caps": asdict(model.chat.capabilities),
        "bos_token": model.vocab.bos_token,
        "eos_token": model.vocab.eos_token,
        "build_info": model.info.build,
        "is_sleeping": False,
    }
