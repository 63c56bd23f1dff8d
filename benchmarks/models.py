"""Models of real shapes with random weights: speed does not depend on the values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.rigs.gguf import ALIGNMENT, Tensor, Typed, make_gguf

_F32, _Q4_0 = 0, 2
_BLOCK, _BLOCK_BYTES = 32, 18  # of Q4_0: one f16 scale, 32 values of 4 bits
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6  # llama_token_type


@dataclass(frozen=True)
class Shape:
    """A llama-type network. `kv_width` is that of all key heads together."""

    name: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    feed_width: int
    vocabulary: int = 32000
    context: int = 32768

    @property
    def kv_width(self) -> int:
        return self.width // self.heads * self.kv_heads


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("60m", layers=8, width=512, heads=8, kv_heads=8, feed_width=1536),
        Shape("0.5b", layers=24, width=1024, heads=16, kv_heads=4, feed_width=4864),
    )
}


def make_model(shape: Shape, folder: Path) -> Path:
    """The file, made on first use: deterministic, Q4_0, the output shared with the embedding."""
    path = folder / f"random-{shape.name}.gguf"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(_encode(shape))
        part.rename(path)
    return path


def _encode(shape: Shape) -> bytes:
    rng = np.random.default_rng(7)
    tensors, weights = [], bytearray()
    for name, dims in _tensors(shape):
        tensors.append(Tensor(name, dims, _F32 if len(dims) == 1 else _Q4_0, len(weights)))
        weights += np.ones(dims[0], np.float32).tobytes() if len(dims) == 1 else _q4(rng, dims)
        weights += b"\0" * (-len(weights) % ALIGNMENT)
    return make_gguf(_metadata(shape), tensors, bytes(weights))


def _tensors(shape: Shape) -> list[tuple[str, tuple[int, ...]]]:
    width, feed, kv_width = shape.width, shape.feed_width, shape.kv_width
    found: list[tuple[str, tuple[int, ...]]] = [
        ("token_embd.weight", (width, shape.vocabulary)),
        ("output_norm.weight", (width,)),
    ]
    for layer in range(shape.layers):
        parts: dict[str, tuple[int, ...]] = {
            "attn_norm": (width,),
            "attn_q": (width, width),
            "attn_k": (width, kv_width),
            "attn_v": (width, kv_width),
            "attn_output": (width, width),
            "ffn_norm": (width,),
            "ffn_gate": (width, feed),
            "ffn_up": (width, feed),
            "ffn_down": (feed, width),
        }
        found += [(f"blk.{layer}.{part}.weight", dims) for part, dims in parts.items()]
    return found


def _q4(rng: np.random.Generator, dims: tuple[int, ...]) -> bytes:
    """Values around zero whose products keep about the size of what they multiply."""
    blocks = np.empty((dims[0] * dims[1] // _BLOCK, _BLOCK_BYTES), np.uint8)
    scale = np.float16(0.22 / np.sqrt(dims[0]))  # the 4-bit values have a deviation of 4.6
    blocks[:, :2] = np.frombuffer(scale.tobytes(), np.uint8)
    blocks[:, 2:] = rng.integers(0, 256, (len(blocks), _BLOCK_BYTES - 2), np.uint8)
    return blocks.tobytes()


def _metadata(shape: Shape) -> dict[str, object]:
    special = ["<unk>", "<s>", "</s>"]
    raw = [f"<0x{byte:02X}>" for byte in range(256)]
    letters = [chr(code) for code in range(32, 127)] + ["▁"]
    words = [f"▁w{number}" for number in range(shape.vocabulary - len(special + raw + letters))]
    kinds = [_UNKNOWN, _CONTROL, _CONTROL] + [_BYTE] * 256 + [_NORMAL] * len(letters + words)
    scores = [0.0] * (len(special + raw + letters)) + [-float(i) for i in range(len(words))]
    return {
        "general.architecture": "llama",
        "general.name": f"random {shape.name}",
        "general.file_type": 2,
        "llama.context_length": shape.context,
        "llama.block_count": shape.layers,
        "llama.embedding_length": shape.width,
        "llama.feed_forward_length": shape.feed_width,
        "llama.attention.head_count": shape.heads,
        "llama.attention.head_count_kv": shape.kv_heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": shape.width // shape.heads,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": special + raw + letters + words,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": [Typed(5, kind) for kind in kinds],
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
