"""Rows of logits: their largest elements, found without sorting."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from worker.engine.runner import RunnerError

Row = NDArray[np.float32]
Ids = NDArray[np.intp]

_LANES = 1024
_MAX_FAST = 256


def argmax(row: Row) -> int:
    """Where the largest is. Raises RunnerError for a row without sense."""
    at = int(row.argmax())
    if not math.isfinite(row[at]):  # argmax finds a NaN before all numbers
        message = "the model computed something that is not a number; its file may be damaged"
        raise RunnerError(message, code="NOT_A_NUMBER", retriable=False)
    return at


def largest(values: Row, count: int) -> Ids:
    """Where the `count` largest are, or all of them, in no order. The values hold no NaN."""
    if count >= len(values):
        return np.arange(len(values))
    if count > _MAX_FAST or len(values) < 4 * _LANES:
        return np.argpartition(values, -count)[-count:]
    some = _contenders(values, count)
    return some[np.argpartition(values[some], -count)[-count:]] if len(some) > count else some


def descending(values: Row) -> Ids:
    """The order that sorts them; equals stay in theirs."""
    return np.argsort(-values, kind="stable")


def _contenders(values: Row, count: int) -> Ids:
    """A few more than the `count` largest, in the time of one look at each value.

    The values are dealt out to lanes. Each of the lanes with the `count` greatest maxima has at
    least one value that reaches the least of those maxima, so nothing below it can be among the
    `count` largest.
    """
    whole = len(values) // _LANES * _LANES
    maxima = values[:whole].reshape(-1, _LANES).max(axis=0)
    return np.flatnonzero(values >= np.partition(maxima, -count)[-count])
