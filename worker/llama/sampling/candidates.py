"""The tokens that may still be chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worker.llama.sampling.rows import Ids, Row, descending


@dataclass(frozen=True, slots=True)
class Candidates:
    """Logits and whose they are; `ids` None: all tokens, each in the place of its id.

    `is_sorted` is from the likeliest down. The arrays are shared and never changed. No filter
    leaves none.
    """

    logits: Row
    ids: Ids | None = None
    is_sorted: bool = False

    def __len__(self) -> int:
        return len(self.logits)

    def keep(self, chosen: Ids, *, is_sorted: bool = False) -> Candidates:
        """Those at the given places, in that order."""
        ids = chosen if self.ids is None else self.ids[chosen]
        return Candidates(self.logits[chosen], ids, is_sorted)

    def skip(self, count: int) -> Candidates:
        ids = np.arange(len(self)) if self.ids is None else self.ids
        return Candidates(self.logits[count:], ids[count:], self.is_sorted)

    def first(self, count: int) -> Candidates:
        ids = np.arange(count) if self.ids is None else self.ids[:count]
        return Candidates(self.logits[:count], ids, self.is_sorted)

    def sorted(self) -> Candidates:
        return self if self.is_sorted else self.keep(descending(self.logits), is_sorted=True)

    def token(self, at: int) -> int:
        return at if self.ids is None else int(self.ids[at])

    @property
    def best(self) -> int:
        """Where the likeliest is."""
        return 0 if self.is_sorted else int(self.logits.argmax())

    def weights(self, temperature: float = 1.0) -> Row:
        """What their probabilities are in proportion to; the largest is 1."""
        weights: Row = self.logits - self.logits[self.best]
        if temperature != 1.0:
            weights /= np.float32(temperature)
        np.exp(weights, out=weights)
        return weights
