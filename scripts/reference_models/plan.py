"""How long to train, on what, and at what pace."""

from __future__ import annotations

from dataclasses import dataclass

from .documents import Mix
from .questions import BALANCED


@dataclass(frozen=True, slots=True)
class Plan:
    """A first round: short sequences and copying drills first, distraction and length later."""

    steps: int
    rate: float = 0.01
    embedding_rate: float = 0.003
    warmup: int = 30
    cooldown: float = 0.5
    seed: int = 7

    def lengths(self, step: int) -> tuple[int, ...]:
        """Sequence lengths to draw from."""
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

    def mix(self, step: int) -> Mix:
        return Mix(0.05 if step < 0.5 * self.steps else 0.25)

    def pace(self, step: int) -> float:
        """Share of the full learning rate: up, flat, then down to nothing."""
        left = (self.steps - step) / (self.steps * self.cooldown)
        return min(1.0, (step + 1) / self.warmup, left)


@dataclass(frozen=True, slots=True)
class Settling(Plan):
    """A later round on a trained network: long sequences, and more of what comes hardest."""

    batch: int = 4096
    sizes: tuple[int, ...] = (256, 512, 1024, 4096)
    distraction: float = 0.25
    num_fillers: int = 1
    num_raw: int = 1
    echo: int = 44

    def lengths(self, step: int) -> tuple[int, ...]:
        return self.sizes

    def tokens(self, step: int) -> int:
        return self.batch

    def drills(self, step: int) -> float:
        return 0.0

    def mix(self, step: int) -> Mix:
        weights = BALANCED | {"sum": 24, "echo": self.echo, "count": 14}
        return Mix(self.distraction, weights, self.num_fillers, self.num_raw)


QUICK = (Plan(steps=60),)
FULL = (
    Plan(steps=2000),
    Settling(steps=600, rate=0.006, cooldown=0.8, seed=8),
    Settling(
        steps=350,
        rate=0.003,
        embedding_rate=0.001,
        cooldown=1.0,
        seed=9,
        batch=8192,
        sizes=(1024, 4096),
        distraction=0.5,
        num_fillers=4,
        num_raw=2,
    ),
    Settling(
        steps=360,
        rate=0.003,
        embedding_rate=0.002,
        cooldown=1.0,
        seed=10,
        distraction=0.2,
        num_fillers=3,
        num_raw=2,
        echo=80,
    ),
)
