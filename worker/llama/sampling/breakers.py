"""Sequence breakers: texts that a repetition does not reach over."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from worker.engine.runner import Vocab

_MAX_BYTES = 40
_MAX_TAIL = 20


class Breakers:
    """Finds breakers among tokens, whose borders need not be those of the breakers.

    A token that holds a breaker is one. A token that ends with the start of a breaker begins one,
    if the tokens that follow spell the rest as the tokenizer would. Tokens are examined when they
    are first met: going through a whole vocabulary takes longer than most answers.
    """

    def __init__(self, texts: tuple[str, ...], vocab: Vocab | None) -> None:
        self._texts = [text.encode()[:_MAX_BYTES] for text in texts]
        self._vocab = vocab
        self._tails: dict[int, tuple[tuple[int, ...], ...]] = {}

    def is_breaker(self, token: int) -> bool:
        return () in self._tails_of(token)

    def unbroken(self, window: NDArray[np.int64]) -> int:
        """How many of the last tokens come after the last breaker."""
        if self._vocab is None:
            return len(window)
        size = len(window)
        for back in range(size):
            tails = self._tails_of(int(window[size - 1 - back]))
            if tails:
                after = tuple(window[size - back : size - back + _MAX_TAIL].tolist())
                fitting = [len(tail) for tail in tails if after[: len(tail)] == tail]
                if fitting:
                    return back - max(fitting)
        return size

    def _tails_of(self, token: int) -> tuple[tuple[int, ...], ...]:
        """What may follow the token to make it a breaker; () when it is one by itself."""
        tails = self._tails.get(token)
        if tails is None:
            tails = self._tails[token] = tuple(self._find_tails(token))
        return tails

    def _find_tails(self, token: int) -> Iterator[tuple[int, ...]]:
        if self._vocab is None:
            return
        word = self._vocab.token_bytes(token)
        for text in self._texts:
            if text in word:
                yield ()
                continue
            for length in range(1, min(len(word), len(text) - 1) + 1):
                if word.endswith(text[:length]):
                    rest = text[length:].decode(errors="ignore")
                    tail = self._vocab.tokenize(rest, add_special=False, parse_special=False)
                    yield tuple(tail[:_MAX_TAIL])
