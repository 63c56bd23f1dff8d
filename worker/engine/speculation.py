"""Drafts for the sequences of a step, and what came of them."""

from __future__ import annotations

from worker.engine.batch import Batch, BatchItem
from worker.engine.draft import Drafter, DraftPolicy
from worker.engine.runner import Sample
from worker.engine.sequence import Sequence


class Speculation:
    """Gives each ordinary sequence a drafter, and each step the drafts that pay."""

    def __init__(self, max_rows: int) -> None:
        self._policy = DraftPolicy()
        self._max_rows = max_rows
        self.drafted = self.accepted = 0

    def propose(self, decoding: list[Sequence], slot_cells: int) -> dict[str, list[int]]:
        """Drafts by request id; together with the sequences' own rows at most `max_rows`, and
        never more than a slot can hold."""
        drafts = {}
        rows = len(decoding)
        for seq in decoding:
            if seq.is_isolated or seq.drafter is None:
                continue
            limit = min(
                self._policy.length(seq.drafter, rows),
                self._max_rows - rows,
                seq.output_left - 1,
                slot_cells - len(seq.tokens),
            )
            if limit > 0 and (draft := seq.drafter.propose(limit)):
                drafts[seq.id] = draft
                rows += len(draft)
        return drafts

    def note_step(self, batch: Batch, seconds: float) -> None:
        """Learn what a step takes, from those that only decode."""
        items = batch.items
        if items[0].seq.is_isolated or any(not item.seq.is_decoding for item in items):
            return
        self._policy.note_step(batch.num_tokens, seconds)

    def note_result(self, item: BatchItem, chosen: list[Sample]) -> None:
        seq, tokens = item.seq, [sample.token_id for sample in chosen]
        if seq.drafter is None:
            seq.drafter = Drafter(seq.tokens[: seq.num_prompt])
        seq.drafter.extend(tokens)
        if item.num_drafts:
            right = len(chosen) - 1
            self._policy.note_result(seq.drafter, item.num_drafts, right)
            seq.drafted += item.num_drafts
            seq.accepted += right
            self.drafted += item.num_drafts
            self.accepted += right
