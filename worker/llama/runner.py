"""LlamaRunner: the ModelRunner that computes with llama.cpp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from worker.engine.batch import Batch, BatchItem
from worker.engine.events import TopLogprob
from worker.engine.request import GenerateRequest
from worker.engine.runner import (
    Layout,
    MemoryTraits,
    ModelInfo,
    RestoreFailed,
    RunnerError,
    Sample,
)
from worker.engine.side_work import Pieces
from worker.llama.context import Context, ContextError, Rows
from worker.llama.embedding import Embedding, Vector
from worker.llama.layouts import laid_out
from worker.llama.library import captured_log
from worker.llama.load import LoadedModel, load
from worker.llama.options import LoadOptions
from worker.llama.own import OwnContexts
from worker.llama.sampling import Row, Sampler, logprobs
from worker.llama.scoring import Scoring
from worker.llama.state import LayoutError


class LlamaRunner:
    """A model with one context that ordinary sequences share, and one for each isolated.

    In the shared context a row's last bits depend on the others: on how many rows a kernel sees
    at once, and on which cells of the cache a sequence was given. An isolated sequence computes
    in a context of its own, as large as its need, where nothing differs from one run to the next.
    It is alone in its batches.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self._model = loaded.model
        self._shared: Context | None = loaded.shared
        self._own = OwnContexts(loaded)
        self._scoring = Scoring(loaded)
        self._embedding = Embedding(loaded)
        self.info: ModelInfo = loaded.info
        self.memory: MemoryTraits = loaded.memory
        self.vocab = loaded.model.vocab
        self.layouts: Sequence[Layout] = loaded.layouts
        self.layout: Layout = loaded.layouts[0]
        self.max_rows = loaded.context_options.num_rows
        self.max_batch_tokens = loaded.context_options.max_batch

    @classmethod
    def load(
        cls, options: LoadOptions, on_progress: Callable[[float], None] = lambda share: None
    ) -> LlamaRunner:
        """Bring the model up; `on_progress` is told the loaded share, 0 to 1. Raises LoadError."""
        return cls(load(options, on_progress))

    @property
    def num_slots(self) -> int:
        return self.layout.num_slots

    @property
    def num_cells(self) -> int:
        return self.layout.num_cells

    def make_sampler(self, request: GenerateRequest) -> Sampler:
        return Sampler(request.params, request.prompt, self.vocab)

    def isolate(self, slot: int, max_cells: int) -> None:
        self._own.open(slot, max_cells)

    def decode(self, batch: Batch) -> list[list[Sample]]:
        items = batch.items
        own = self._own.get(items[0].slot)
        if own is not None:
            assert len(items) == 1, "an isolated sequence computes alone"
            rows = own.decode(items, [0])
        else:
            if self.layout.is_split:
                # llama.cpp computes together only slots that follow one another.
                items = sorted(items, key=lambda item: item.slot)
            rows = self._context.decode(items, [item.slot for item in items])
        samples: dict[int, list[Sample]] = {}
        row = 0
        for item in items:
            if item.sampled:
                samples[item.slot] = self._choose(item, rows, row)
                row += item.num_rows
        return [samples[item.slot] for item in batch.items if item.sampled]

    def can_reuse(self, slot: int, length: int) -> bool:
        context, seq_id = self._place(slot)
        held = context.positions(seq_id)
        if length > held.stop:
            return False
        if not self.memory.can_trim:
            return length == held.stop
        return held.start <= max(0, length - self.memory.window)

    def copy_prefix(self, source: int, target: int, length: int) -> None:
        assert self._own.get(source) is self._own.get(target) is None, "isolated"
        assert max(source, target) < self.num_slots, "no such slot"
        self._context.copy(source, target, length)

    def trim(self, slot: int, length: int) -> None:
        context, seq_id = self._place(slot)
        context.trim(seq_id, length)

    def num_cached(self, slot: int) -> int:
        context, seq_id = self._place(slot)
        return context.positions(seq_id).stop

    def save(self, slot: int) -> bytes:
        context, seq_id = self._place(slot)
        return context.state(seq_id)

    def restore(self, slot: int, state: bytes, num_tokens: int) -> None:
        layout = self._loaded.state_layout
        if layout is None:
            raise RestoreFailed("layout", f"states of a {self.memory.kind} memory are not known")
        context, seq_id = self._place(slot)
        is_own, hole = context is not self._shared, 0
        try:
            layout.check(state, num_tokens, in_order=is_own)
        except LayoutError as error:
            raise RestoreFailed("layout", str(error)) from None
        if is_own and self.memory.window:
            state, hole = layout.fill_window(state), max(0, num_tokens - self.memory.window)
        with captured_log() as lines:
            used = context.set_state(seq_id, state, hole)
        held = context.positions(seq_id)
        if used == len(state) and held.stop == num_tokens and self.can_reuse(slot, num_tokens):
            return
        context.forget(seq_id)
        if used:
            raise RestoreFailed("short", f"of {num_tokens} positions it has {held}")
        raise RestoreFailed(
            "no_room" if "cells in kv cache" in lines.text else "refused", lines.reason
        )

    def release(self, slot: int) -> None:
        if self._own.get(slot) is not None:
            self._own.close(slot)
        elif self._shared is not None:
            assert slot < self.num_slots, "no such slot"
            self._shared.forget(slot)

    def reset(self) -> None:
        self._own.close_all()
        self._remake(self.layout)

    def reshape(self, layout: Layout) -> None:
        assert layout in self.layouts and self._own.is_empty, "isolated"
        self._remake(layout)

    def interrupt(self) -> None:
        self._loaded.interrupt.set()

    def score(self, tokens: Sequence[int], num_top: int) -> Pieces[list[Sample]]:
        return self._scoring.score(tokens, num_top)

    def embed(self, tokens: Sequence[int]) -> Pieces[Vector]:
        return self._embedding.embed(tokens)

    def close(self) -> None:
        self._scoring.close()
        self._embedding.close()
        self._own.close_all()
        self._close_shared()
        self._model.close()

    def _remake(self, layout: Layout) -> None:
        """The shared context; there is memory for one at a time."""
        self._close_shared()
        loaded = self._loaded
        options = laid_out(loaded.context_options, layout)
        try:
            self._shared = Context(
                self._model.handle,
                self.vocab.size,
                options,
                loaded.interrupt,
                loaded.state_layout,
            )
        except ContextError as error:
            raise RunnerError(str(error), code="NO_CONTEXT", retriable=False) from None
        self.layout = layout

    def _close_shared(self) -> None:
        if self._shared is not None:
            self._shared.close()
            self._shared = None

    @property
    def _context(self) -> Context:
        if self._shared is None:
            raise RunnerError("the model has no context", code="NO_CONTEXT", retriable=False)
        return self._shared

    def _place(self, slot: int) -> tuple[Context, int]:
        """The context that a slot is in, and the sequence id it has there."""
        own = self._own.get(slot)
        assert own is not None or slot < self.num_slots, "no such slot"
        return (self._context, slot) if own is None else (own, 0)

    def _choose(self, item: BatchItem, rows: Rows, row: int) -> list[Sample]:
        """Token after token, as long as a guess is what would have been chosen in its place."""
        samples = [self._sample(item, rows[row])]
        if item.num_drafts:
            for draft in item.tokens[-item.num_drafts :]:
                if samples[-1].token_id != draft:
                    break
                row += 1
                samples.append(self._sample(item, rows[row]))
        return samples

    def _sample(self, item: BatchItem, row: Row) -> Sample:
        seq = item.seq
        token = cast(Sampler, seq.sampler).choose(row)
        num_top = seq.request.params.logprobs
        if num_top is None:
            return Sample(token)
        logprob, top = logprobs(row, token, num_top)
        return Sample(
            token, logprob, tuple(TopLogprob(i, self.vocab.token_bytes(i), p) for i, p in top)
        )
