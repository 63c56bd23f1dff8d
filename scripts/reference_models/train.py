"""Training on the CPU: fixed seeds and threads, so that the same machine gives the same weights."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from .documents import drill_sequence, training_sequence
from .network import Network
from .shape import Shape
from .tokenizer import Tokenizer

NUM_THREADS = 1  # a second thread gains little and stalls when the machine is busy


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to train, and the sequence lengths each part of the run draws from."""

    steps: int
    rate: float = 0.01
    embedding_rate: float = 0.003
    warmup: int = 30
    cooldown: float = 0.5
    seed: int = 7

    def lengths(self, step: int) -> tuple[int, ...]:
        done = step / self.steps
        if done < 0.3:
            return (64, 128, 256)
        if done < 0.75:
            return (128, 256, 512)
        return (256, 1024, 4096)

    def tokens(self, step: int) -> int:
        """Batch size: many small steps first, larger ones to settle."""
        return 2048 if step < 0.3 * self.steps else 4096

    def drills(self, step: int) -> float:
        """Share of sequences that only practise copying."""
        return 0.5 if step < 0.05 * self.steps else 0.1 if step < 0.3 * self.steps else 0.0

    def distraction(self, step: int) -> float:
        """Share of questions with other text before them."""
        return 0.05 if step < 0.5 * self.steps else 0.25

    def pace(self, step: int) -> float:
        """Share of the full learning rate: up, flat, then down to nothing."""
        left = (self.steps - step) / (self.steps * self.cooldown)
        return min(1.0, (step + 1) / self.warmup, left)


QUICK = Plan(steps=60)
FULL = Plan(steps=2000)


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
    plan: Plan, tokenizer: Tokenizer, say: Callable[[str], None], save: Path | None = None
) -> Network:
    """Train a fresh network by the plan; `save` keeps the newest weights in case of a stop."""
    torch.manual_seed(plan.seed)
    torch.set_num_threads(NUM_THREADS)
    torch.use_deterministic_algorithms(True)
    rng = random.Random(plan.seed)
    network = Network(Shape(), tokenizer.spaced_pairs())
    optimizers = _make_optimizers(network, plan)
    started, losses = time.monotonic(), []
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
        losses.append((loss.item(), right))
        if step % 25 == 24:
            mean = [sum(column) / 25 for column in zip(*losses[-25:], strict=True)]
            seconds = time.monotonic() - started
            say(f"step {step + 1} loss {mean[0]:.4f} right {mean[1]:.4f} {seconds:.0f} s")
            if save and step % 100 == 99:
                torch.save(network.state_dict(), save)
    if save:
        torch.save(network.state_dict(), save)
    return network


def load(path: Path) -> Network:
    """A network with weights saved by `train`."""
    network = Network(Shape(), [])
    network.load_state_dict(torch.load(path, weights_only=True))
    return network


def _make_optimizers(network: Network, plan: Plan) -> list[torch.optim.Optimizer]:
    matrices, others = [], []
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
        else training_sequence(rng, tokenizer, length + 1, plan.distraction(step))
        for _ in range(plan.tokens(step) // length)
    ]
    ids = torch.tensor([sequence.ids for sequence in sequences])
    wanted = torch.tensor([sequence.is_answer[1:] for sequence in sequences])
    return ids[:, :-1], ids[:, 1:], wanted


def _loss(network: Network, ids: Tensor, targets: Tensor, wanted: Tensor) -> tuple[Tensor, float]:
    logits = network(ids, wanted)
    right = (logits.argmax(-1) == targets[wanted]).float().mean().item()
    return F.cross_entropy(logits, targets[wanted]), right
