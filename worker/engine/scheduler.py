"""Who computes what in the next step. Pure: no clock, no threads, no model."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

from worker.engine.batch import Batch, BatchItem
from worker.engine.blocks import CELLS_PER_BLOCK
from worker.engine.events import EngineEvent, FinishReason
from worker.engine.sequence import Sequence

_MIN_CHUNK = 32  # smaller pieces of a prompt leave a processor's time unused
_MAX_OVERTAKEN = 64  # times that one in the queue lets others go first; then nobody passes it


class Scheduler:
    """Keeps the queue and those who run, and shares each step among these.

    Every decoding sequence gets its token in every step; what is left of `max_batch_tokens` goes
    to chunks of prompts, oldest first.
    """

    def __init__(self, max_batch_tokens: int, max_running: int) -> None:
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.max_running = max_running
        self._max_batch_tokens = max_batch_tokens

    @property
    def is_full(self) -> bool:
        return len(self.running) >= self.max_running

    def add(self, seq: Sequence) -> None:
        """Queue it behind those of its own priority, and before lower ones that have not been
        overtaken too often."""
        at = len(self.waiting)
        while at and _may_overtake(seq, self.waiting[at - 1]):
            at -= 1
        for passed in islice(self.waiting, at, None):
            passed.num_overtaken += 1
        self.waiting.insert(at, seq)

    def candidates(self) -> list[Sequence]:
        """Those who may start now, in order of arrival.

        Whoever waits for something else than room is passed over and keeps their place: the one
        before them who has their agent, a snapshot, or another one's prefill.
        """
        busy = {seq.agent for seq in self.running if seq.agent is not None}
        found = []
        for seq in self.waiting:
            if seq.has_ended or seq.agent in busy:
                continue
            if seq.agent is not None:
                busy.add(seq.agent)
            if not seq.is_loading and not seq.is_following:
                found.append(seq)
        return found

    def start(self, seq: Sequence) -> None:
        self.waiting.remove(seq)
        self.running.append(seq)

    def put_back(self, seq: Sequence) -> None:
        """A running one waits again, before all others."""
        self.running.remove(seq)
        self.waiting.appendleft(seq)

    def newest_ordinary(self) -> Sequence | None:
        """Whom to preempt: the one that has waited least for what it has."""
        return next((seq for seq in reversed(self.running) if not seq.is_isolated), None)

    def schedule(
        self, decoding: Iterable[BatchItem], prompt_tokens: int | None = None
    ) -> list[Batch]:
        """The batches of the next step, to be computed one after the other: the `decoding`
        items, and up to `prompt_tokens` of prompts.

        Ordinary sequences share the first. What a reproducible one gets is a batch of its own, so
        that no kernel can let its result depend on who else is there.
        """
        shared: list[BatchItem] = []
        alone: list[Batch] = []
        used = 0
        for item in decoding:
            used += len(item.tokens)
            if item.seq.is_isolated:
                alone.append(Batch([item]))
            else:
                shared.append(item)
        for item in self._prompt_items(used, prompt_tokens):
            if item.seq.is_isolated:
                alone.append(Batch([item]))
            else:
                shared.append(item)
        # llama.cpp computes together what comes in the order of slots.
        shared.sort(key=lambda item: item.slot)
        return [Batch(shared), *alone] if shared else alone

    def cancel(self, request_id: str, now: float) -> list[EngineEvent]:
        """End a sequence, running or waiting; nothing when there is none of that name."""
        return [
            seq.finish(FinishReason.CANCELLED, now)
            for seq in [*self.running, *self.waiting]
            if seq.id == request_id and not seq.has_ended
        ]

    def retire(self) -> list[Sequence]:
        """Let go of those that have ended; which of them were running."""
        if any(seq.has_ended for seq in self.waiting):
            self.waiting = deque(seq for seq in self.waiting if not seq.has_ended)
        ended = [seq for seq in self.running if seq.has_ended]
        if ended:
            self.running = [seq for seq in self.running if not seq.has_ended]
        return ended

    def _prompt_items(self, used: int, prompt_tokens: int | None) -> list[BatchItem]:
        """Chunks of prompts until the step's budget is spent; the oldest always gets one."""
        budget = self._max_batch_tokens - used
        if prompt_tokens is not None:
            budget = min(budget, max(_MIN_CHUNK, prompt_tokens))
        items: list[BatchItem] = []
        for seq in self.running:
            if seq.is_decoding or seq.has_ended:
                continue
            size = _chunk_size(seq, budget)
            if items and (size > budget or _is_sliver(seq, size)):
                break
            start = seq.num_computed
            tokens = seq.tokens[start : start + size]
            items.append(BatchItem(seq, seq.slot, start, tokens, start + size == len(seq.tokens)))
            budget -= size
            if budget <= 0:
                break
        return items


def _may_overtake(seq: Sequence, other: Sequence) -> bool:
    if other.has_started or other.num_overtaken >= _MAX_OVERTAKEN:
        return False
    return seq.request.priority > other.request.priority


def _is_sliver(seq: Sequence, size: int) -> bool:
    """Whether it is so small a piece that it had better be part of the next."""
    return size < _MIN_CHUNK and size < len(seq.tokens) - seq.num_computed


def _chunk_size(seq: Sequence, budget: int) -> int:
    """How much of what is not computed yet to compute at once.

    A reproducible prompt is cut at whole blocks whatever else happens, because where a prompt is
    cut shows in the last bits of its logits.
    """
    left = len(seq.tokens) - seq.num_computed
    return min(left, CELLS_PER_BLOCK if seq.is_isolated else budget)
