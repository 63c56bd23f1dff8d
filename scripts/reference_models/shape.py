"""The one set of sizes the four models share."""

from __future__ import annotations

from dataclasses import dataclass

from .tokenizer import VOCABULARY_SIZE


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the network; head_dim must be a multiple of 32 for a quantised KV cache."""

    width: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    feed_width: int = 256
    vocabulary: int = VOCABULARY_SIZE
    context: int = 131_072
    rope_base: float = 500_000.0
    norm_epsilon: float = 1e-5

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def group(self) -> int:
        """Query heads that share one key/value head."""
        return self.heads // self.kv_heads
