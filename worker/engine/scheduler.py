"""Who computes what in the next step. Pure: no clock, no threads, no model."""

from __future__ import annotations

from collections import deque

from worker.engine.batch import Batch, BatchItem
from worker.engine.events import EngineEvent, FinishReason
from worker.engine.runner import Sample
from worker.engine.sequence import Sequence
from worker.engine.slots import CELLS_PER_BLOCK, SlotPool


class Scheduler:
    """Admits sequences in order of arrival and shares each step among those that run.

    A sequence is admitted when a slot and its worst-case need of cells are free, so a running one
    never runs out. Who is first in the queue is admitted first: small requests do not keep
    overtaking a large one. Every decoding sequence gets its token in every step; what is left of
    `max_batch_tokens` goes to chunks of prompts, oldest first.
    """

    def __init__(self, pool: SlotPool, max_batch_tokens: int) -> None:
        self.pool = pool
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self._max_batch_tokens = max_batch_tokens

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.running)

    def add(self, seq: Sequence) -> None:
        self.waiting.append(seq)

    def admit(self, now: float) -> list[Sequence]:
        """Start those at the head of the queue for whom there is room."""
        admitted = []
        while self.waiting and self.pool.can_lease(self.waiting[0].max_cells):
            seq = self.waiting.popleft()
            seq.start(self.pool.lease(seq.max_cells), now)
            self.running.append(seq)
            admitted.append(seq)
        return admitted

    def schedule(self) -> list[Batch]:
        """The batches of the next step, to be computed one after the other.

        Ordinary sequences share the first. What a reproducible one gets is a batch of its own, so
        that no kernel can let its result depend on who else is there.
        """
        shared: list[BatchItem] = []
        alone: list[Batch] = []
        for item in self._decoding_items() + self._prompt_items():
            if item.seq.request.reproducible:
                alone.append(Batch([item]))
            else:
                shared.append(item)
        return [Batch(shared), *alone] if shared else alone

    def update(self, batch: Batch, samples: list[Sample], now: float) -> list[EngineEvent]:
        """Note what was computed and sampled; what the requesters are to hear of it."""
        events: list[EngineEvent] = []
        for item in batch.items:
            item.seq.num_computed += len(item.tokens)
        for item, sample in zip(batch.sampled, samples, strict=True):
            events += item.seq.accept(sample, now)
        return events

    def fail(self, batch: Batch, code: str, message: str, *, retriable: bool) -> list[EngineEvent]:
        """End every sequence of a batch that could not be computed."""
        return [item.seq.fail(code, message, retriable=retriable) for item in batch.items]

    def fail_all(self, code: str, message: str) -> list[EngineEvent]:
        """End everyone, running or waiting."""
        return [
            seq.fail(code, message, retriable=True)
            for seq in [*self.running, *self.waiting]
            if not seq.has_ended
        ]

    def cancel(self, request_id: str, now: float) -> list[EngineEvent]:
        """End a sequence, running or waiting; nothing when there is none of that name."""
        return [
            seq.finish(FinishReason.CANCELLED, now)
            for seq in [*self.running, *self.waiting]
            if seq.id == request_id and not seq.has_ended
        ]

    def retire(self) -> list[int]:
        """Let go of those that have ended; the slots that were theirs."""
        ended = [seq for seq in self.running if seq.has_ended]
        if ended:
            self.running = [seq for seq in self.running if not seq.has_ended]
        if any(seq.has_ended for seq in self.waiting):
            self.waiting = deque(seq for seq in self.waiting if not seq.has_ended)
        for seq in ended:
            self.pool.release(seq.slot)
        return [seq.slot for seq in ended]

    def _decoding_items(self) -> list[BatchItem]:
        return [
            BatchItem(seq, seq.slot, seq.num_computed, seq.tokens[-1:], True)
            for seq in self.running
            if seq.is_decoding and not seq.has_ended
        ]

    def _prompt_items(self) -> list[BatchItem]:
        """Chunks of prompts until the step's budget is spent; the oldest always gets one."""
        prompts = [seq for seq in self.running if not seq.is_decoding and not seq.has_ended]
        budget = max(1, self._max_batch_tokens - (len(self.running) - len(prompts)))
        items: list[BatchItem] = []
        for seq in prompts:
            size = _chunk_size(seq, budget)
            if size > budget and items:
                break
            start = seq.num_computed
            tokens = seq.tokens[start : start + size]
            items.append(BatchItem(seq, seq.slot, start, tokens, start + size == seq.num_prompt))
            budget -= size
            if budget <= 0:
                break
        return items


def _chunk_size(seq: Sequence, budget: int) -> int:
    """How much of the prompt to compute at once.

    A reproducible prompt is cut at whole blocks whatever else happens, because where a prompt is
    cut shows in the last bits of its logits.
    """
    left = seq.num_prompt - seq.num_computed
    return min(left, CELLS_PER_BLOCK if seq.request.reproducible else budget)
