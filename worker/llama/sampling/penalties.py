"""Repetition, presence and frequency penalties."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from worker.engine.params import SamplingParams
from worker.llama.sampling.rows import Ids, Row


class Penalties:
    """A LogitEdit that makes tokens that were seen less likely.

    By default the repetition penalty counts the prompt and what was generated, presence and
    frequency only what was generated. With a window all three count its tokens, of either.
    """

    def __init__(self, params: SamplingParams, prompt: Sequence[int]) -> None:
        self._repetition = np.float32(params.repetition_penalty)
        self._presence = np.float32(params.presence_penalty)
        self._frequency = np.float32(params.frequency_penalty)
        self._seen = _Counts()  # by the repetition penalty
        self._said = _Counts() if params.repeat_last_n is None else self._seen
        size = params.repeat_last_n
        is_bounded = size is not None and size >= 0
        self._window: deque[int] | None = deque(maxlen=size) if is_bounded else None
        for token in prompt:
            self._push(token)

    @classmethod
    def of(cls, params: SamplingParams, prompt: Sequence[int]) -> Penalties | None:
        """None when the request asks for none, which is the usual case."""
        neutral = (1.0, 0.0, 0.0)
        asked = (params.repetition_penalty, params.presence_penalty, params.frequency_penalty)
        if asked == neutral or params.repeat_last_n == 0:
            return None
        return cls(params, prompt)

    def edit(self, row: Row) -> None:
        if self._repetition != 1:
            ids = self._seen.tokens()
            seen = row[ids]
            row[ids] = np.where(seen > 0, seen / self._repetition, seen * self._repetition)
        if self._presence or self._frequency:
            ids, counts = self._said.tokens(), self._said.counts()
            row[ids] -= counts * self._frequency + self._presence

    def note(self, token: int) -> None:
        self._push(token)
        if self._said is not self._seen:
            self._said.add(token)

    def _push(self, token: int) -> None:
        if self._window is not None:
            if len(self._window) == self._window.maxlen:
                self._seen.remove(self._window[0])
            self._window.append(token)
        self._seen.add(token)


class _Counts:
    """How often each token occurs, kept as arrays: for indexing with, once for each choice."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}
        self._tokens = np.empty(64, np.intp)
        self._counts = np.empty(64, np.float32)

    def tokens(self) -> Ids:
        return self._tokens[: len(self._places)]

    def counts(self) -> Row:
        return self._counts[: len(self._places)]

    def add(self, token: int) -> None:
        at = self._places.get(token)
        if at is not None:
            self._counts[at] += 1
            return
        at = self._places[token] = len(self._places)
        if at == len(self._tokens):
            self._tokens = np.concatenate([self._tokens, self._tokens])
            self._counts = np.concatenate([self._counts, self._counts])
        self._tokens[at] = token
        self._counts[at] = 1

    def remove(self, token: int) -> None:
        at = self._places[token]
        self._counts[at] -= 1
        if self._counts[at] > 0:
            return
        last = len(self._places) - 1
        moved = int(self._tokens[last])
        self._tokens[at], self._counts[at] = moved, self._counts[last]
        self._places[moved] = at
        del self._places[token]
