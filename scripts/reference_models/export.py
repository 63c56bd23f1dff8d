"""Writing the weights as GGUF: one network, four architectures that compute the same function."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from gguf import (
    GGMLQuantizationType,
    GGUFWriter,
    LlamaFileType,
    RopeScalingType,
    TokenType,
    quants,
)

from .chats import HARMONY
from .models import HARMONY_MODEL, LICENSE, Model
from .shape import Shape
from .tokenizer import BOS, BYTE_OFFSET, EOS, RETURN, UNKNOWN, Kind, Tokenizer

Array = np.ndarray
Tensors = dict[str, Array]

HARMONY_SEED = 20
# gpt-oss needs rows of 32 values for MXFP4; everything else is as small as it can be.
HARMONY_SHAPE = Shape(width=64, layers=2, heads=2, kv_heads=1, feed_width=64)
_EXPERTS, _EXPERTS_USED, _WINDOW = 4, 2, 128


def export(path: Path, model: Model, weights: Mapping[str, Array], tokenizer: Tokenizer) -> None:
    """Write one trained model."""
    shape = Shape()
    writer = GGUFWriter(path, model.architecture)
    _add_header(writer, model, shape, shape.kv_heads if model.is_grouped else shape.heads)
    if model.architecture == "llama":
        writer.add_vocab_size(shape.vocabulary)
    writer.add_feed_forward_length(shape.feed_width)
    _add_tokenizer(writer, model, tokenizer)
    for name, tensor in _lay_out(model, weights, shape).items():
        writer.add_tensor(name, _stored(tensor))
    _write(writer)


def export_harmony(path: Path, tokenizer: Tokenizer) -> None:
    """Write the gpt-oss model: random weights, MXFP4 experts."""
    shape = HARMONY_SHAPE
    writer = GGUFWriter(path, HARMONY_MODEL.architecture)
    _add_header(writer, HARMONY_MODEL, shape, shape.kv_heads)
    writer.add_sliding_window(_WINDOW)
    writer.add_expert_count(_EXPERTS)
    writer.add_expert_used_count(_EXPERTS_USED)
    writer.add_expert_feed_forward_length(shape.feed_width)
    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(32.0)
    writer.add_rope_scaling_orig_ctx_len(4096)
    _add_tokenizer(writer, HARMONY_MODEL, tokenizer)
    for name, tensor in _random_harmony(shape).items():
        if "_exps.weight" in name:
            packed = quants.quantize(tensor, GGMLQuantizationType.MXFP4)
            writer.add_tensor(name, packed, raw_dtype=GGMLQuantizationType.MXFP4)
        else:
            writer.add_tensor(name, _stored(tensor))
    _write(writer)


def _add_header(writer: GGUFWriter, model: Model, shape: Shape, kv_heads: int) -> None:
    writer.add_name(model.title)
    writer.add_license(LICENSE)
    writer.add_organization("llorch")
    writer.add_description("Trained on generated text, for tests. Not for use as an assistant.")
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_base)


def _add_tokenizer(writer: GGUFWriter, model: Model, tokenizer: Tokenizer) -> None:
    writer.add_tokenizer_model(model.kind.value)
    is_harmony = model is HARMONY_MODEL
    if model.kind is Kind.SPM:
        pieces = tokenizer.spm_pieces()
        writer.add_tokenizer_pre("default")
        writer.add_token_list(pieces)
        writer.add_token_scores([-float(max(0, i - BYTE_OFFSET - 255)) for i in range(len(pieces))])
    else:
        pieces = tokenizer.bpe_pieces(harmony=is_harmony)
        writer.add_tokenizer_pre("qwen2")
        writer.add_token_list(pieces)
    writer.add_token_types([_token_type(i, piece, model.kind) for i, piece in enumerate(pieces)])
    if model.kind is Kind.BPE:
        writer.add_token_merges(tokenizer.bpe_merges())
    chat = model.chat
    stop = chat.stop if chat else RETURN
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(stop if model.kind is Kind.BPE else EOS)
    if stop != EOS:
        writer.add_eot_token_id(stop)
    if model.kind is Kind.SPM:
        writer.add_unk_token_id(UNKNOWN)
        writer.add_add_space_prefix(chat is not None and chat.space_prefix)
    writer.add_pad_token_id(EOS)
    writer.add_add_bos_token(chat is not None and chat.has_bos)
    writer.add_add_eos_token(False)
    writer.add_chat_template(chat.template if chat else HARMONY)


def _token_type(number: int, piece: str, kind: Kind) -> TokenType:
    if number == UNKNOWN and kind is Kind.SPM:
        return TokenType.UNKNOWN
    if number < BYTE_OFFSET:
        return TokenType.CONTROL
    return TokenType.BYTE if kind is Kind.SPM and piece.startswith("<0x") else TokenType.NORMAL


def _lay_out(model: Model, weights: Mapping[str, Array], shape: Shape) -> Tensors:
    """The network's weights under the names and in the order the architecture expects."""
    tensors: Tensors = {
        "token_embd.weight": weights["embedding.weight"],
        "output_norm.weight": weights["norm.weight"],
    }
    for i in range(shape.layers):
        own = {
            name.removeprefix(f"blocks.{i}."): weight
            for name, weight in weights.items()
            if name.startswith(f"blocks.{i}.")
        }
        for name, tensor in _lay_out_block(model, own, shape).items():
            tensors[f"blk.{i}.{name}.weight"] = tensor
    return tensors


def _lay_out_block(model: Model, own: Mapping[str, Array], shape: Shape) -> Tensors:
    query, key = own["attention.query.weight"], own["attention.key.weight"]
    value = own["attention.value.weight"]
    if not model.is_grouped:
        key, value = (_repeat_heads(tensor, shape) for tensor in (key, value))
    if model.architecture == "llama":
        query, key = (_interleave(tensor, shape.head_dim) for tensor in (query, key))
    gate, up = own["gate.weight"], own["up.weight"]
    block = {"attn_norm": own["attention_norm.weight"], "ffn_norm": own["feed_norm.weight"]}
    if model.architecture == "phi3":
        block |= {"attn_qkv": np.concatenate([query, key, value])}
        block |= {"ffn_up": np.concatenate([gate, up])}
    else:
        block |= {"attn_q": query, "attn_k": key, "attn_v": value}
        block |= {"ffn_gate": gate, "ffn_up": up}
    block |= {"attn_output": own["attention.output.weight"], "ffn_down": own["down.weight"]}
    return block


def _repeat_heads(tensor: Array, shape: Shape) -> Array:
    """Grouped heads as full heads: each key/value head once for every query head it serves."""
    heads = tensor.reshape(shape.kv_heads, shape.head_dim, -1)
    return np.repeat(heads, shape.group, axis=0).reshape(-1, tensor.shape[1])


def _interleave(tensor: Array, head_dim: int) -> Array:
    """Rows for rotary pairs (0,1), (2,3)… as the llama architecture pairs them."""
    halves = tensor.reshape(-1, 2, head_dim // 2, tensor.shape[1])
    return halves.swapaxes(1, 2).reshape(tensor.shape)


def _random_harmony(shape: Shape) -> Tensors:
    rng = np.random.default_rng(HARMONY_SEED)

    def matrix(*sizes: int) -> Array:
        values: Array = rng.standard_normal(sizes) * sizes[-1] ** -0.5
        return values.astype(np.float32)

    def vector(size: int) -> Array:
        return (rng.standard_normal(size) * 0.02).astype(np.float32)

    width, kv = shape.width, shape.kv_width
    tensors: Tensors = {
        "token_embd.weight": matrix(shape.vocabulary, width),
        "output_norm.weight": np.ones(width, np.float32),
        "output.weight": matrix(shape.vocabulary, width) * 4,
    }
    for i in range(shape.layers):
        block: Tensors = {
            "attn_norm.weight": np.ones(width, np.float32),
            "post_attention_norm.weight": np.ones(width, np.float32),
            "attn_sinks.weight": vector(shape.heads),
            "ffn_gate_inp.weight": matrix(_EXPERTS, width),
            "ffn_gate_inp.bias": vector(_EXPERTS),
        }
        for name, size in (("q", width), ("k", kv), ("v", kv), ("output", width)):
            block[f"attn_{name}.weight"] = matrix(size, width)
            block[f"attn_{name}.bias"] = vector(size)
        for name in ("gate", "up", "down"):
            block[f"ffn_{name}_exps.weight"] = matrix(_EXPERTS, shape.feed_width, width)
            block[f"ffn_{name}_exps.bias"] = np.zeros((_EXPERTS, shape.feed_width), np.float32)
        tensors |= {f"blk.{i}.{name}": tensor for name, tensor in block.items()}
    return tensors


def _stored(tensor: Array) -> Array:
    """Matrices in half precision; vectors, biases and the router in full, as converters do."""
    is_matrix = tensor.ndim > 1 and min(tensor.shape) > _EXPERTS
    return np.ascontiguousarray(tensor, np.float16 if is_matrix else np.float32)


def _write(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
