"""Facts about a model that its GGUF file tells without being loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pool_core.gguf.tensors import TensorTable
from pool_core.gguf.types import FILE_TYPES


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF says of itself. Numbers are 0 where the file does not say.

    `head_count` and `head_count_kv` may differ from layer to layer: then they are tuples.
    `tensors` is None when only the facts were read, and `has_chat_template` may then be unknown.
    """

    path: Path
    version: int
    file_size: int
    architecture: str
    name: str
    size_label: str
    license: str
    file_type: int | None
    context_length: int
    block_count: int
    embedding_length: int
    feed_forward_length: int
    head_count: int | tuple[int, ...]
    head_count_kv: int | tuple[int, ...]
    key_length: int
    value_length: int
    expert_count: int
    expert_used_count: int
    sliding_window: int
    vocab_size: int
    tokenizer: str
    tokenizer_pre: str
    has_chat_template: bool | None
    split_count: int
    tensors: TensorTable | None

    @property
    def quantization(self) -> str:
        """'Q4_K_M': from the file type, else the type that most bytes of the weights have."""
        if self.file_type in FILE_TYPES:
            return FILE_TYPES[self.file_type]
        types = self.tensors.by_type if self.tensors else {}
        return max(types, key=lambda name: types[name], default="unknown")

    @property
    def weights_bytes(self) -> int:
        """Bytes of all tensors, over all shards; the file's size when they were not read."""
        return self.tensors.size if self.tensors else self.file_size

    @property
    def num_kv_heads(self) -> int:
        """Heads that keep keys and values, summed over the layers."""
        heads = self.head_count_kv
        return sum(heads) if isinstance(heads, tuple) else heads * self.block_count

    def to_dict(self) -> dict[str, Any]:
        """The facts a person asks for, as JSON values."""
        parameters = self.tensors.parameters if self.tensors else 0
        return {
            "architecture": self.architecture,
            "name": self.name,
            "license": self.license,
            "quantization": self.quantization,
            "parameters": parameters,
            "weights_bytes": self.weights_bytes,
            "context_length": self.context_length,
            "layers": self.block_count,
            "embedding_length": self.embedding_length,
            "head_count": self.head_count,
            "head_count_kv": self.head_count_kv,
            "expert_count": self.expert_count,
            "sliding_window": self.sliding_window,
            "vocab_size": self.vocab_size,
            "tokenizer": self.tokenizer,
            "has_chat_template": self.has_chat_template,
            "split_count": self.split_count,
        }
