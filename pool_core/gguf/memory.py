"""How much memory a model will need, before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from pool_core.errors import UsageError
from pool_core.gguf.header import GgufHeader

KV_BYTES = {
    "f32": Fraction(4),
    "f16": Fraction(2),
    "q8_0": Fraction(34, 32),
    "q4_0": Fraction(9, 16),
}
"""Bytes of one cached value, by the type of the KV cache."""

DEFAULT_BATCH = 512
_COMPUTE_BASE = 32 << 20
_PAD = 256  # llama.cpp allocates cells in blocks of this
# Every nth layer sees the whole context, the others a window.
_FULL_LAYER_EVERY = {"gpt-oss": 2, "gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4}


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes. `weights` and `kv` are llama.cpp's own sums; `compute` is an upper bound."""

    weights: int
    kv: int
    compute: int
    cells: int

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.compute


def estimate_memory(
    header: GgufHeader,
    ctx: int,
    slots: int = 1,
    kv_type: str = "f16",
    *,
    batch: int = DEFAULT_BATCH,
    swa_full: bool = True,
) -> MemoryEstimate:
    """What `ctx` KV cells, shared by `slots` sequences, need with this model.

    `batch` is the most tokens computed at once. With `swa_full`, layers with a sliding window
    keep every cell, as llama.cpp does unless told otherwise. Raises UsageError for an unknown
    `kv_type`.
    """
    if kv_type not in KV_BYTES:
        raise UsageError(f'unknown KV type "{kv_type}"', f"one of {', '.join(KV_BYTES)}")
    cells = _padded(ctx)
    period = _FULL_LAYER_EVERY.get(header.architecture, 0)
    full_share = Fraction(1)
    window_cells = cells
    if header.sliding_window and period and not swa_full:
        full_share = Fraction(header.block_count // period, max(header.block_count, 1))
        window_cells = min(cells, _padded(header.sliding_window * slots + batch))
    values = header.num_kv_heads * (header.key_length + header.value_length)
    per_layer_cells = full_share * cells + (1 - full_share) * window_cells
    kv = int(per_layer_cells * values * KV_BYTES[kv_type])
    experts = max(header.expert_used_count, 1)
    columns = (
        header.vocab_size
        + 4 * header.embedding_length
        + 3 * header.feed_forward_length * experts
        + cells
    )
    compute = 4 * batch * columns + _COMPUTE_BASE
    return MemoryEstimate(header.weights_bytes, kv, compute, cells)


def _padded(cells: int) -> int:
    return -(-cells // _PAD) * _PAD
