"""Repeated measurements: taken in turn, and told by their medians."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")
Samples = dict[str, list[float]]


def alternate(turns: int, sides: Mapping[str, Callable[[int], T]]) -> dict[str, list[T]]:
    """What each side returned in each turn, after a turn 0 that does not count.

    The sides are called with the number of the turn, one after the other, in reverse order every
    second turn: what drifts on the machine meets all of them.
    """
    found: dict[str, list[T]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        names = list(sides) if turn % 2 else list(reversed(list(sides)))
        for name in names:
            result = sides[name](turn)
            if turn:
                found[name].append(result)
    return found


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Of the medians."""
    return statistics.median(ours) / statistics.median(theirs)


def ratio_range(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """The least and the greatest ratio within one turn: wide on a noisy machine."""
    ratios = [here / there for here, there in zip(ours, theirs, strict=True)]
    return min(ratios), max(ratios)


def median_of(samples: Sequence[float], digits: int = 0) -> str:
    return f"{statistics.median(samples):,.{digits}f}"


def compared(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The ratio of the medians, and of single turns: `1.02 (0.98–1.05)`."""
    low, high = ratio_range(ours, theirs)
    return f"{ratio(ours, theirs):.2f} ({low:.2f}–{high:.2f})"
