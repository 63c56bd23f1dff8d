"""How long to train, on what, and at what pace."""

from __future__ import annotations

from dataclasses import dataclass

from .questions import BALANCED


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to train, and the sequence lengths each part of the run draws from."""

    steps: int
    rate: float = 0.01
    embedding_rate: float = 0.003
    warmup: int = 30
    cooldown: float = 0.5
    seed: int = 7

    @property
    def weights(self) -> dict[str, int]:
        """How often each kind of question is asked."""
        return BALANCED

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


class Settling(Plan):
    """A second round on a trained network: long sequences, and more of what comes hardest."""

    @property
    def weights(self) -> dict[str, int]:
        return BALANCED | {"sum": 24, "echo": 44, "count": 14}

    def lengths(self, step: int) -> tuple[int, ...]:
        return (256, 512, 1024, 4096)

    def tokens(self, step: int) -> int:
        return 4096

    def drills(self, step: int) -> float:
        return 0.0

    def distraction(self, step: int) -> float:
        return 0.25


QUICK = (Plan(steps=60),)
FULL = (Plan(steps=2000), Settling(steps=600, rate=0.006, cooldown=0.8, seed=8))
