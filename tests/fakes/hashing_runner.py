"""A ModelRunner whose answers depend on every token its cache holds, and that can be broken."""

from __future__ import annotations

import hashlib
import json
import math

from tests.fakes.runner import Cell, FakeRunner
from worker.engine.batch import Batch, BatchItem
from worker.engine.events import TopLogprob
from worker.engine.runner import Sample

_NUM_TOP = 5


class HashingRunner(FakeRunner):
    """Log-probabilities are made of a hash of the cells before, and of what leaks in.

    `leak` is how many nats the others in a batch move them, `jitter` how many each batch that was
    decoded before does. A restore drops the last `lost_cells` and says nothing. From the token
    `nan_after` on, counted in batches, they are not numbers.
    """

    def __init__(
        self,
        *,
        leak: float = 0.0,
        jitter: float = 0.0,
        lost_cells: int = 0,
        nan_after: float = math.inf,
        num_cells: int = 64 * 256,
        num_slots: int = 32,
    ) -> None:
        super().__init__(num_slots=num_slots, num_cells=num_cells, max_batch_tokens=256)
        self.leak = leak
        self.jitter = jitter
        self.lost_cells = lost_cells
        self.nan_after = nan_after
        self._num_decoded = 0
        self._others = b""

    def decode(self, batch: Batch) -> list[list[Sample]]:
        self._num_decoded += 1
        self._others = json.dumps([item.tokens for item in batch.items]).encode()
        self._is_alone = len(batch.items) == 1
        return super().decode(batch)

    def restore(self, slot: int, state: bytes, num_tokens: int) -> None:
        super().restore(slot, state, num_tokens)
        for cell in self._cells[slot][num_tokens - self.lost_cells :]:
            cell.token = -1

    def _compute(self, item: BatchItem) -> None:
        cells = self._cells.setdefault(item.slot, [])
        assert item.start == len(cells), "a gap in the positions"
        cells += map(Cell, item.tokens)

    def _sample(self, item: BatchItem) -> list[Sample]:
        held = [cell.token for cell in self._cells[item.slot]]
        drafts = item.tokens[len(item.tokens) - item.num_drafts :]
        samples: list[Sample] = []
        for row in range(1 + item.num_drafts):
            samples.append(self._choose(held[: len(held) - item.num_drafts + row]))
            if row == item.num_drafts or drafts[row] != samples[-1].token_id:
                break
        return samples

    def _choose(self, held: list[int]) -> Sample:
        digest = hashlib.sha256(json.dumps(held).encode()).digest()
        drift = self.jitter * self._num_decoded
        if self.leak and not self._is_alone:
            drift += self.leak * hashlib.sha256(self._others).digest()[0] / 255
        if self._num_decoded > self.nan_after:
            drift = math.nan
        ids = dict.fromkeys(97 + byte % 26 for byte in digest)
        top = tuple(
            TopLogprob(token, bytes([token]), -0.1 - 0.5 * rank - digest[rank] / 512 - drift)
            for rank, token in enumerate(list(ids)[:_NUM_TOP])
        )
        return Sample(top[0].token_id, top[0].logprob, top)
