"""Training on the CPU: fixed seeds and threads, so that the same machine gives the same weights."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from .documents import drill_sequence, training_sequence
from .network import Network
from .plan import Plan
from .shape import Shape
from .tokenizer import Tokenizer

NUM_THREADS = 1  # a second thread gains little and stalls when the machine is busy
_REPORT_STEPS = 25


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal: about half the steps AdamW needs on matrices."""

    def __init__(self, weights: list[Tensor], rate: float, momentum: float = 0.95) -> None:
        super().__init__(weights, {"lr": rate, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                average = state.setdefault("average", torch.zeros_like(weight))
                average.lerp_(weight.grad, 1 - group["momentum"])
                update = _orthogonal(weight.grad.lerp(average, group["momentum"]))
                scale = max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5
                weight.add_(update, alpha=-group["lr"] * scale)


def _orthogonal(matrix: Tensor) -> Tensor:
    """The nearest orthogonal matrix, by five Newton-Schulz steps."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def train(
    plans: Sequence[Plan],
    tokenizer: Tokenizer,
    say: Callable[[str], None],
    network: Network | None = None,
) -> Network:
    """Train by each plan in turn, starting afresh unless a network is given."""
    torch.set_num_threads(NUM_THREADS)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(plans[0].seed)
    network = network or Network(Shape(), tokenizer.spaced_pairs())
    for plan in plans:
        _follow(plan, network, tokenizer, say)
    return network


def _follow(plan: Plan, network: Network, tokenizer: Tokenizer, say: Callable[[str], None]) -> None:
    rng = random.Random(plan.seed)
    optimizers = _make_optimizers(network, plan)
    started, recent = time.monotonic(), []
    for step in range(plan.steps):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * plan.pace(step)
        loss, right = _loss(network, *_batch(rng, tokenizer, plan, step))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        recent.append((loss.item(), right))
        if len(recent) == _REPORT_STEPS:
            mean = [sum(column) / _REPORT_STEPS for column in zip(*recent, strict=True)]
            seconds = time.monotonic() - started
            say(f"step {step + 1} loss {mean[0]:.4f} right {mean[1]:.4f} {seconds:.0f} s")
            recent.clear()


def save(network: Network, path: Path) -> None:
    """Keep the weights; `load` reads them back."""
    torch.save(network.state_dict(), path)


def load(path: Path) -> Network:
    """A network with weights saved by `train`."""
    network = Network(Shape(), [])
    network.load_state_dict(torch.load(path, weights_only=True))
    return network


def _make_optimizers(network: Network, plan: Plan) -> list[torch.optim.Optimizer]:
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, weight in network.named_parameters():
        (matrices if weight.ndim == 2 and "embedding" not in name else others).append(weight)
    optimizers = [
        Muon(matrices, plan.rate),
        torch.optim.Adam(others, plan.embedding_rate, betas=(0.9, 0.95), eps=1e-10),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def _batch(
    rng: random.Random, tokenizer: Tokenizer, plan: Plan, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, targets, and the positions whose target is part of an answer."""
    length = rng.choice(plan.lengths(step))
    sequences = [
        drill_sequence(rng, length + 1)
        if rng.random() < plan.drills(step)
        else training_sequence(rng, tokenizer, length + 1, plan.mix(step))
        for _ in range(plan.tokens(step) // length)
    ]
    ids = torch.tensor([sequence.ids for sequence in sequences])
    wanted = torch.tensor([sequence.is_answer[1:] for sequence in sequences])
    if not wanted.any():  # one long filler may fill a batch, and the mean of no losses is no number
        return _batch(rng, tokenizer, plan, step)
    return ids[:, :-1], ids[:, 1:], wanted


def _loss(network: Network, ids: Tensor, targets: Tensor, wanted: Tensor) -> tuple[Tensor, float]:
    logits = network(ids, wanted)
    right = (logits.argmax(-1) == targets[wanted]).float().mean().item()
    return F.cross_entropy(logits, targets[wanted]), right
