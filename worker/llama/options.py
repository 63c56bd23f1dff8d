"""What to load, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

DEFAULT_MAX_CTX = 16384
KV_TYPES = {"f16": 1, "q8_0": 8, "q4_0": 2}  # ggml_type


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """`ctx` is the number of KV cells that all sequences share; None is the model's own context,
    at most 16384. `threads` None is one for each physical core."""

    model_path: Path
    backend: str = "cpu"
    rpc: tuple[str, ...] = ()
    gpu: int | None = None
    ctx: int | None = None
    slots: int = 16
    threads: int | None = None
    kv_type: str = "f16"

    @property
    def num_threads(self) -> int:
        return self.threads or psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
