"""LlamaRunner: the ModelRunner that computes with llama.cpp."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from worker.engine.batch import Batch, BatchItem
from worker.engine.events import TopLogprob
from worker.engine.request import GenerateRequest
from worker.engine.runner import ModelInfo, RunnerError, Sample
from worker.engine.slots import CELLS_PER_BLOCK, blocks_for
from worker.llama.context import Context, ContextError
from worker.llama.load import LoadedModel, load
from worker.llama.options import LoadOptions
from worker.llama.sampler import Row, Sampler, logprobs


class LlamaRunner:
    """A model with one context that ordinary sequences share, and one for each reproducible.

    In the shared context a row's last bits depend on the others: on how many rows a kernel sees
    at once, and on which cells of the cache a sequence was given. A reproducible sequence
    computes in a context of its own, as large as its need, where nothing differs from one run to
    the next.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._model = loaded.model
        self._shared = loaded.shared
        self._context_options = loaded.context_options
        self._own: dict[int, Context] = {}
        self._samplers: dict[int, Sampler] = {}
        self.info: ModelInfo = loaded.info
        self.vocab = loaded.model.vocab
        self.num_slots = loaded.context_options.num_seqs
        self.num_cells = loaded.context_options.num_cells
        self.max_batch_tokens = loaded.context_options.max_batch

    @classmethod
    def load(
        cls, options: LoadOptions, on_progress: Callable[[float], None] = lambda share: None
    ) -> LlamaRunner:
        """Bring the model up; `on_progress` is told the loaded share, 0 to 1. Raises LoadError."""
        return cls(load(options, on_progress))

    def start(self, slot: int, request: GenerateRequest, max_cells: int) -> None:
        if request.reproducible:
            self._own[slot] = self._make_own_context(max_cells)
        self._samplers[slot] = Sampler(request.params, request.prompt)

    def decode(self, batch: Batch) -> list[Sample]:
        own = self._own.get(batch.items[0].slot)
        if own is not None:
            rows = own.decode(batch.items, [0])
        else:
            rows = self._shared.decode(batch.items, [item.slot for item in batch.items])
        return [self._sample(item, row) for item, row in zip(batch.sampled, rows, strict=True)]

    def release(self, slot: int) -> None:
        self._samplers.pop(slot, None)
        own = self._own.pop(slot, None)
        if own is not None:
            own.close()
        else:
            self._shared.forget(slot)

    def clear(self) -> None:
        self._shared.clear()

    def close(self) -> None:
        for slot in list(self._samplers):
            self.release(slot)
        self._shared.close()
        self._model.close()

    def _make_own_context(self, max_cells: int) -> Context:
        options = replace(
            self._context_options,
            num_cells=blocks_for(max_cells) * CELLS_PER_BLOCK,
            num_seqs=1,
            max_batch=CELLS_PER_BLOCK,
        )
        try:
            return Context(self._model.handle, self.vocab.size, options)
        except ContextError as error:
            raise RunnerError(str(error), code="OUT_OF_MEMORY") from None

    def _sample(self, item: BatchItem, row: Row) -> Sample:
        token = self._samplers[item.slot].choose(row)
        num_top = item.seq.request.params.logprobs
        if num_top is None:
            return Sample(token)
        logprob, top = logprobs(row, token, num_top)
        return Sample(
            token, logprob, tuple(TopLogprob(i, self.vocab.token_bytes(i), p) for i, p in top)
        )
