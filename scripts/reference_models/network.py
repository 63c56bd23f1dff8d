"""The network: a llama-type transformer, small enough to train on a CPU in minutes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .shape import Shape

Twins = list[tuple[int, int]]
_SPREAD = 0.2  # of the embeddings at the start


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

    def attend(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return x + self.attention(self.attention_norm(x), cos, sin)

    def feed(self, x: Tensor) -> Tensor:
        normed = self.feed_norm(x)
        return x + self.down(F.silu(self.gate(normed)) * self.up(normed))


class Network(nn.Module):
    """Token ids in, logits out; the output projection is the embedding (tied)."""

    def __init__(self, shape: Shape, twins: Twins) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        self._initialise(twins)

    def _initialise(self, twins: Twins) -> None:
        for name, weight in self.named_parameters():
            if name.endswith(("output.weight", "down.weight")):
                nn.init.zeros_(weight)
            elif weight.ndim == 2:
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
        start_copying(self, twins)

    def forward(self, ids: Tensor, wanted: Tensor) -> Tensor:
        """Logits at the positions where `wanted` is true, in row order."""
        cos, sin = self._angles(ids.shape[1])
        x = self.embedding(ids)
        *first, last = self.blocks
        for block in first:
            x = block.feed(block.attend(x, cos, sin))
        # Nothing after the last attention looks at other positions.
        x = last.feed(last.attend(x, cos, sin)[wanted])
        return self.norm(x) @ self.embedding.weight.T

    def _angles(self, length: int) -> tuple[Tensor, Tensor]:
        angle = torch.outer(torch.arange(length), _frequencies(self.shape))
        return angle.cos(), angle.sin()


def _frequencies(shape: Shape) -> Tensor:
    half = shape.head_dim // 2
    return shape.rope_base ** (-torch.arange(half) / half)


@torch.no_grad()
def start_copying(network: Network, twins: Twins) -> None:
    """Start with a copying circuit, which a network this small needs millions of tokens to find.

    Two heads of the first layer look at the token before and note it down; two heads of the second
    look for the place whose note is the present token, and bring the token that stands there.
    Twins, a piece with and without a space before it, start close together.
    """
    shape = network.shape
    width, dim = shape.width, shape.head_dim
    basis = torch.linalg.qr(torch.randn(width, width))[0].T
    constant, token, note = basis[0], basis[1 : dim + 1], basis[dim + 1 : 2 * dim + 1]
    brought = torch.linalg.qr(torch.randn(width, dim))[0].T
    # A part common to all embeddings gives the first layer something to see position with.
    embedding = network.embedding.weight.normal_(0, _SPREAD)
    for spaced, plain in twins:
        embedding[spaced] = 0.8 * embedding[plain] + 0.6 * embedding[spaced]
    embedding.add_(constant * _SPREAD * width**0.5 / 2)

    # Fast rotations tell neighbours apart; slow ones carry content over any distance.
    fast = (torch.arange(dim // 2) < 4).float()
    angles = _frequencies(shape)
    back = torch.cat((fast * angles.cos(), -fast * angles.sin()))
    first, second = network.blocks[0].attention, network.blocks[1].attention
    first.key.weight[:dim] = 1.5 * torch.outer(torch.cat((fast, 0 * fast)), constant)
    first.value.weight[:dim] = token
    first.output.weight[:, :dim] = 2 * _SPREAD * note.T
    second.key.weight[:dim] = 2.5 * note
    second.value.weight[:dim] = brought
    slow = 1 - torch.cat((fast, fast))
    for head in range(shape.group):
        rows = slice(head * dim, (head + 1) * dim)
        first.query.weight[rows] = 1.5 * torch.outer(back, constant)
        second.query.weight[rows] = 2.5 * token * slow[:, None]
        second.output.weight[:, rows] = 2 * _SPREAD * brought.T
