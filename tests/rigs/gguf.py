"""GGUF files made by hand, for tests of what reads them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ALIGNMENT = 32
_STRING, _ARRAY = 8, 9
_CODES = {0: "<B", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q"}


@dataclass(frozen=True)
class Typed:
    """A value of a type other than the natural one (text, u32, f32, bool)."""

    kind: int
    value: Any


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    kind: int = 24  # I8: one byte a value
    offset: int = 0


LLAMA = {
    "general.architecture": "llama",
    "general.name": "Tiny",
    "general.file_type": 15,
    "llama.context_length": 2048,
    "llama.block_count": 2,
    "llama.embedding_length": 64,
    "llama.feed_forward_length": 128,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": ["a", "b", "c"],
    "tokenizer.chat_template": "{{ messages }}",
}


def make_gguf(
    metadata: Mapping[str, Any] = LLAMA,
    tensors: Sequence[Tensor] = (),
    weights: bytes = b"",
    *,
    version: int = 3,
    magic: bytes = b"GGUF",
) -> bytes:
    """A whole file; `weights` begin at the next multiple of 32."""
    head = magic + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, value in metadata.items():
        head += _text(key) + _pair(value)
    for tensor in tensors:
        head += _text(tensor.name) + struct.pack("<I", len(tensor.shape))
        head += b"".join(struct.pack("<Q", size) for size in tensor.shape)
        head += struct.pack("<IQ", tensor.kind, tensor.offset)
    return head + b"\0" * (-len(head) % ALIGNMENT) + weights


def make_model(weights: bytes, metadata: Mapping[str, Any] = LLAMA) -> bytes:
    """A well-formed file with one tensor of just these bytes."""
    return make_gguf(metadata, [Tensor("weights", (len(weights),))], weights)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _pair(value: Any) -> bytes:
    kind, plain = _typed(value)
    return struct.pack("<I", kind) + _plain(kind, plain)


def _typed(value: Any) -> tuple[int, Any]:
    match value:
        case Typed():
            return value.kind, value.value
        case bool():
            return 7, value
        case int():
            return 4, value
        case float():
            return 6, value
        case str():
            return _STRING, value
        case _:
            return _ARRAY, value


def _plain(kind: int, value: Any) -> bytes:
    if kind == _STRING:
        return _text(value)
    if kind == _ARRAY:
        items = [_typed(item) for item in value]
        element = items[0][0] if items else 4
        head = struct.pack("<IQ", element, len(items))
        return head + b"".join(_plain(element, item) for _, item in items)
    return struct.pack(_CODES[kind], value)
