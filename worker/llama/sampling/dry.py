"""DRY, don't repeat yourself: a token that would go on repeating is made less likely, the more so
the longer the repetition already is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.engine.params import SamplingParams
from worker.engine.runner import Vocab
from worker.llama.sampling.breakers import Breakers
from worker.llama.sampling.rows import Row

_LOG_FLOAT_MAX = 88.7228391  # of a float32


class Dry:
    """A LogitEdit. Looks at the last tokens of prompt and answer together; no repetition reaches
    over a breaker."""

    def __init__(self, params: SamplingParams, prompt: Sequence[int], breakers: Breakers) -> None:
        self._multiplier = params.dry_multiplier
        self._base = params.dry_base
        self._allowed = params.dry_allowed_length
        self._breakers = breakers
        self._max_window = params.dry_penalty_last_n  # -1: all there is
        grows = params.dry_base > 1.000001
        self._max_exponent = int(_LOG_FLOAT_MAX / math.log(params.dry_base)) if grows else 0
        self._tokens = np.array(prompt, np.int64)
        self._size = len(prompt)

    @classmethod
    def of(cls, params: SamplingParams, prompt: Sequence[int], vocab: Vocab | None) -> Dry | None:
        """None when the request asks for none. Without a vocabulary there are no breakers."""
        if params.dry_multiplier == 0.0 or params.dry_penalty_last_n == 0:
            return None
        return cls(params, prompt, Breakers(params.dry_sequence_breakers, vocab))

    def note(self, token: int) -> None:
        if self._size == len(self._tokens):
            self._tokens = np.concatenate([self._tokens, np.empty(self._size + 64, np.int64)])
        self._tokens[self._size] = token
        self._size += 1

    def edit(self, row: Row) -> None:
        for token, repeated in self._continuations().items():
            if self._breakers.is_breaker(token):
                continue
            exponent = repeated - self._allowed
            if self._max_exponent:
                exponent = min(exponent, self._max_exponent)
            # As wide as llama.cpp's: the product overflows to infinity, which bans the token.
            with np.errstate(over="ignore"):
                row[token] -= np.float32(self._multiplier * self._base**exponent)

    def _continuations(self) -> dict[int, int]:
        """Tokens that would go on with a repetition, and how long that is already."""
        window = self._window()
        if len(window) <= self._allowed:
            return {}
        limit = self._breakers.unbroken(window)
        if limit < self._allowed:
            return {}
        found: dict[int, int] = {}
        for at, length in self._repeats(window, limit):
            if length >= self._allowed:
                token = int(window[at + 1])
                found[token] = max(found.get(token, 0), length)
        return found

    def _window(self) -> NDArray[np.int64]:
        start = 0 if self._max_window < 0 else max(0, self._size - self._max_window)
        return self._tokens[start : self._size]

    def _repeats(self, window: NDArray[np.int64], limit: int) -> list[tuple[int, int]]:
        """For each earlier place, how many tokens up to it are the last ones again.

        Lengths beyond which the penalty grows no more are not told apart.
        """
        limit = min(limit, self._allowed + self._max_exponent)
        last = len(window) - 1
        places = np.arange(last)
        repeats: list[tuple[int, int]] = []
        for length in range(limit):
            goes_on = places[places >= length]
            goes_on = goes_on[window[goes_on - length] == window[last - length]]
            ended = np.setdiff1d(places, goes_on, assume_unique=True)
            repeats += [(int(at), length) for at in ended] if length >= self._allowed else []
            places = goes_on
            if not len(places):
                return repeats
        return repeats + [(int(at), limit) for at in places]
