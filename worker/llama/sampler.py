"""Choosing a token from a row of logits, with numpy.

Each sequence has its own sampler, so that nothing another sequence does can show in its choices:
the random number for its n-th token depends on its seed and n alone.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.engine.params import SamplingParams

Row = NDArray[np.float32]
Weights = NDArray[np.float32]
Ids = NDArray[np.intp]

_NUCLEUS_GUESS = 512


class Sampler:
    """One sequence's way of choosing.

    Repetition penalty counts the prompt and what was generated, presence and frequency only what
    was generated. The order is: penalties, temperature, top-k, top-p, min-p, draw.
    """

    def __init__(self, params: SamplingParams, prompt: Sequence[int]) -> None:
        self._params = params
        self._is_greedy = params.temperature == 0.0
        self._penalties = Penalties.of(params, prompt)
        seed = secrets.randbits(64) if params.seed is None else params.seed & (1 << 64) - 1
        self._random = np.random.Generator(np.random.PCG64(seed))

    @property
    def is_plain_argmax(self) -> bool:
        return self._is_greedy and self._penalties is None

    def choose(self, row: Row) -> int:
        """The next token; `row` is not changed."""
        if self._penalties is not None:
            row = self._penalties.apply(row)
        token = int(row.argmax()) if self._is_greedy else self._draw(row)
        if self._penalties is not None:
            self._penalties.note(token)
        return token

    def _draw(self, row: Row) -> int:
        ids, weights = candidates(row, self._params)
        mass = np.cumsum(weights, dtype=np.float64)
        at = int(np.searchsorted(mass, self._random.random() * mass[-1], side="right"))
        at = min(at, len(mass) - 1)  # rounding can put the draw at the very end
        return at if ids is None else int(ids[at])


class Penalties:
    """Makes tokens that were seen less likely."""

    def __init__(self, params: SamplingParams, prompt: Sequence[int]) -> None:
        self._repetition = params.repetition_penalty
        self._presence = params.presence_penalty
        self._frequency = params.frequency_penalty
        self._seen = dict.fromkeys(prompt, 0)  # token -> times generated

    @classmethod
    def of(cls, params: SamplingParams, prompt: Sequence[int]) -> Penalties | None:
        """None when the request asks for none, which is the usual case."""
        neutral = (1.0, 0.0, 0.0)
        asked = (params.repetition_penalty, params.presence_penalty, params.frequency_penalty)
        return None if asked == neutral else cls(params, prompt)

    def apply(self, row: Row) -> Row:
        row = row.copy()
        ids = np.fromiter(self._seen.keys(), np.int64, len(self._seen))
        counts = np.fromiter(self._seen.values(), np.float32, len(self._seen))
        seen = row[ids]
        seen = np.where(seen > 0, seen / self._repetition, seen * self._repetition)
        row[ids] = seen - self._frequency * counts - self._presence * (counts > 0)
        return row

    def note(self, token: int) -> None:
        self._seen[token] = self._seen.get(token, 0) + 1


def candidates(row: Row, params: SamplingParams) -> tuple[Ids | None, Weights]:
    """The tokens that may be drawn (None: all) and their weights, of which the largest is 1."""
    ids = _largest(row, params.top_k) if 0 < params.top_k < len(row) else None
    logits = row if ids is None else row[ids]
    weights = np.exp((logits - logits.max()) / params.temperature)
    if params.min_p > 0.0:
        ids, weights = _keep(ids, weights, np.flatnonzero(weights >= params.min_p))
    if params.top_p < 1.0:
        ids, weights = _keep(ids, weights, _nucleus(weights, params.top_p))
    return ids, weights


def logprobs(row: Row, token: int, num_top: int) -> tuple[float, list[tuple[int, float]]]:
    """The token's log-probability, and the likeliest tokens with theirs, best first."""
    peak = float(row.max())
    log_total = peak + math.log(np.exp(row - peak).sum(dtype=np.float64))
    top = _largest(row, num_top) if num_top else np.empty(0, np.intp)
    top = top[np.argsort(-row[top], kind="stable")]
    return float(row[token]) - log_total, [(int(i), float(row[i]) - log_total) for i in top]


def _largest(values: Weights, count: int) -> Ids:
    """Where the `count` largest are, or all of them, in no order."""
    count = min(count, len(values))
    return np.argpartition(values, -count)[-count:]


def _keep(ids: Ids | None, weights: Weights, chosen: Ids) -> tuple[Ids, Weights]:
    return (chosen if ids is None else ids[chosen]), weights[chosen]


def _nucleus(weights: Weights, top_p: float) -> Ids:
    """Where the fewest weights are that make up the share `top_p` of them all."""
    enough = top_p * weights.sum(dtype=np.float64)
    # Sorting a whole vocabulary takes milliseconds; nearly always a few hundred tokens suffice.
    for count in (_NUCLEUS_GUESS, len(weights)):
        some = _largest(weights, count) if count < len(weights) else np.arange(len(weights))
        order = some[np.argsort(-weights[some], kind="stable")]
        mass = np.cumsum(weights[order], dtype=np.float64)
        if mass[-1] >= enough:
            break
    return order[: int(np.searchsorted(mass, enough)) + 1]
