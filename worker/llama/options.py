"""What to load, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

DEFAULT_MAX_CTX = 16384
# Below this size threads wait for each other longer than they compute: on two busy cores the
# reference models run about five times faster on one thread than on two.
_SMALL_MODEL_BYTES = 32 << 20
KV_TYPES = {"f16": 1, "q8_0": 8, "q4_0": 2}  # ggml_type


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """`ctx` is the number of KV cells that all sequences share; None is the model's own context,
    at most 16384. `slots` of them run at once. `threads` None is what `default_threads` says.
    `kv_layout` is "unified", "split", or "auto" for both where that is good, split at first."""

    model_path: Path
    backend: str = "cpu"
    rpc: tuple[str, ...] = ()
    gpu: int | None = None
    ctx: int | None = None
    slots: int = 16
    threads: int | None = None
    kv_type: str = "f16"
    kv_layout: str = "auto"


def default_threads(model_path: Path | None = None) -> int:
    """One for each physical core; one in all for a very small model."""
    if model_path is not None and model_path.stat().st_size < _SMALL_MODEL_BYTES:
        return 1
    return psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
