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
from worker.engine.runner import RunnerError

Row = NDArray[np.float32]
Weights = NDArray[np.float32]
Ids = NDArray[np.intp]

_BLOCK = 256
_MIN_TEMPERATURE = 1e-4  # below this there is nothing left to choose, only to overflow


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

    def choose(self, row: Row) -> int:
        """The next token; `row` is not changed. Raises RunnerError for a row without sense."""
        if self._penalties is not None:
            row = self._penalties.apply(row)
        token = _argmax(row) if self._is_greedy else self._draw(row)
        if self._penalties is not None:
            self._penalties.note(token)
        return token

    def _draw(self, row: Row) -> int:
        ids, weights = candidates(row, self._params)
        at = pick(weights, self._random.random())
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
    weights = logits - logits[_argmax(logits)]
    weights /= np.float32(max(params.temperature, _MIN_TEMPERATURE))
    np.exp(weights, out=weights)
    if params.min_p > 0.0:
        ids, weights = _keep(ids, weights, np.flatnonzero(weights >= params.min_p))
    if params.top_p < 1.0:
        ids, weights = _keep(ids, weights, _nucleus(weights, params.top_p))
    return ids, weights


def _argmax(row: Row) -> int:
    """Where the largest is. Raises RunnerError when any of them is not a number."""
    at = int(row.argmax())
    if math.isnan(row[at]):  # argmax finds a NaN before all numbers
        message = "the model computed something that is not a number; its file may be damaged"
        raise RunnerError(message, code="NOT_A_NUMBER", retriable=False)
    return at


def pick(weights: Weights, share: float) -> int:
    """Which weight lies at `share`, 0 to 1, of the way through their sum."""
    # Blocks first: one running sum over a whole vocabulary takes milliseconds.
    blocks = np.cumsum(
        np.add.reduceat(weights, np.arange(0, len(weights), _BLOCK)), dtype=np.float64
    )
    target = share * float(blocks[-1])
    block = _first_above(blocks, target)
    start = block * _BLOCK
    inside = np.cumsum(weights[start : start + _BLOCK], dtype=np.float64)
    return start + _first_above(inside, target - (float(blocks[block - 1]) if block else 0.0))


def logprobs(row: Row, token: int, num_top: int) -> tuple[float, list[tuple[int, float]]]:
    """The token's log-probability, and the likeliest tokens with theirs, best first."""
    peak = float(row.max())
    log_total = peak + math.log(np.exp(row - np.float32(peak)).sum())
    top = _largest(row, num_top) if num_top else np.empty(0, np.intp)
    top = top[np.argsort(-row[top], kind="stable")]
    return float(row[token]) - log_total, [(int(i), float(row[i]) - log_total) for i in top]


def _first_above(sums: NDArray[np.float64], target: float) -> int:
    """Rounding can put the target at the very end, which is the last."""
    return min(int(np.searchsorted(sums, target, side="right")), len(sums) - 1)


def _largest(values: Weights, count: int) -> Ids:
    """Where the `count` largest are, or all of them, in no order."""
    count = min(count, len(values))
    return np.argpartition(values, -count)[-count:]


def _keep(ids: Ids | None, weights: Weights, chosen: Ids) -> tuple[Ids, Weights]:
    return (chosen if ids is None else ids[chosen]), weights[chosen]


def _nucleus(weights: Weights, top_p: float) -> Ids:
    """Where the fewest weights are that make up the share `top_p` of them all."""
    enough = top_p * float(weights.sum())
    # Sorting a whole vocabulary takes milliseconds; nearly always a few weights are enough.
    for cut in (1e-2, 1e-4, 1e-6, 0.0):
        some = np.flatnonzero(weights >= cut)
        order = some[np.argsort(-weights[some], kind="stable")]
        mass = np.cumsum(weights[order], dtype=np.float64)
        if mass[-1] >= enough:
            break
    return order[: int(np.searchsorted(mass, enough)) + 1]
