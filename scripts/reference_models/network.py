"""The network: a llama-type transformer, small enough to train on a CPU in minutes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .shape import Shape


class Attention(nn.Module):
    """Causal grouped-query attention with rotary positions in half-split (NEOX) order."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.query = nn.Linear(shape.width, shape.width, bias=False)
        self.key = nn.Linear(shape.width, shape.kv_width, bias=False)
        self.value = nn.Linear(shape.width, shape.kv_width, bias=False)
        self.output = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        rows, length, width = x.shape
        split = (rows, length, -1, self.shape.head_dim)
        query = _rotate(self.query(x).view(split).transpose(1, 2), cos, sin)
        key = _rotate(self.key(x).view(split).transpose(1, 2), cos, sin)
        value = self.value(x).view(split).transpose(1, 2)
        key = key.repeat_interleave(self.shape.group, dim=1)
        value = value.repeat_interleave(self.shape.group, dim=1)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.output(mixed.transpose(1, 2).reshape(rows, length, width))


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class Block(nn.Module):
    """Attention, then a gated feed-forward layer, each on a normalised residual stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        self.attention = Attention(shape)
        self.feed_norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        self.gate = nn.Linear(shape.width, shape.feed_width, bias=False)
        self.up = nn.Linear(shape.width, shape.feed_width, bias=False)
        self.down = nn.Linear(shape.feed_width, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), cos, sin)
        normed = self.feed_norm(x)
        return x + self.down(F.silu(self.gate(normed)) * self.up(normed))


class Network(nn.Module):
    """Token ids in, logits out; the output projection is the embedding (tied)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        self._initialise()

    def _initialise(self) -> None:
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, std=0.02 if "embedding" in name else weight.shape[1] ** -0.5)
            if name.endswith(("output.weight", "down.weight")):
                nn.init.zeros_(weight)

    def forward(self, ids: Tensor, wanted: Tensor) -> Tensor:
        """Logits at the positions where `wanted` is true, in row order."""
        cos, sin = self._angles(ids.shape[1])
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.norm(x[wanted]) @ self.embedding.weight.T

    def _angles(self, length: int) -> tuple[Tensor, Tensor]:
        half = self.shape.head_dim // 2
        frequency = self.shape.rope_base ** (-torch.arange(half) / half)
        angle = torch.outer(torch.arange(length), frequency)
        return angle.cos(), angle.sin()
