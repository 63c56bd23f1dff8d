"""One decode's worth of work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class BatchItem:
    """A run of one sequence's tokens, `tokens[0]` at position `start`.

    `sampled` asks for a next token after the last of them; a chunk in the middle of a prompt
    does not. The last `num_drafts` tokens are guesses, to be verified: each is kept if it is what
    would have been chosen in its place.
    """

    seq: Sequence
    slot: int
    start: int
    tokens: list[int]
    sampled: bool
    num_drafts: int = 0

    @property
    def num_rows(self) -> int:
        """How many rows of logits it wants: those of its last tokens."""
        return 1 + self.num_drafts if self.sampled else 0


@dataclass(frozen=True, slots=True)
class Batch:
    """What one call of the runner computes. Never empty, and no sequence is in it twice."""

    items: list[BatchItem]

    @property
    def num_tokens(self) -> int:
        return sum(len(item.tokens) for item in self.items)

    @property
    def sampled(self) -> list[BatchItem]:
        return [item for item in self.items if item.sampled]
