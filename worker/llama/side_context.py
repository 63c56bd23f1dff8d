"""Contexts of one sequence for what is computed beside generation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from worker.engine.blocks import CELLS_PER_BLOCK, blocks_for
from worker.engine.runner import RunnerError
from worker.llama.context import Context, ContextError
from worker.llama.fit import free_bytes
from worker.llama.load import LoadedModel

# Of the shared context's cells, how many may stay in one that nobody uses.
_SPARE_SHARE = 4


class Piece(NamedTuple):
    """Tokens of the one sequence, with a row for each of the last `num_rows`."""

    tokens: list[int]
    start: int
    num_rows: int


class SideContext:
    """Makes a context when one is needed, and keeps it, emptied, unless it is large.

    A decode takes at most `max_batch` tokens and gives a row for each: of logits, or with `embeds`
    of the last layer's vectors.
    """

    def __init__(self, loaded: LoadedModel, *, max_batch: int, embeds: bool = False) -> None:
        self.max_batch = max_batch
        self._loaded = loaded
        self._embeds = embeds
        self._max_spare_cells = loaded.context_options.num_cells // _SPARE_SHARE
        self._spare: Context | None = None

    @contextmanager
    def empty(self, num_cells: int) -> Iterator[Context]:
        """Of at least so many cells. Raises RunnerError when there is no memory for it."""
        context, self._spare = self._spare, None
        if context is not None and context.num_cells < num_cells:
            context.close()
            context = None
        if context is None:
            context = self._make(blocks_for(num_cells) * CELLS_PER_BLOCK)
        try:
            yield context
            context.clear()
        except BaseException:
            context.close()
            raise
        if context.num_cells <= self._max_spare_cells:
            self._spare = context
        else:
            context.close()

    def close(self) -> None:
        if self._spare is not None:
            self._spare.close()
            self._spare = None

    def _make(self, num_cells: int) -> Context:
        loaded = self._loaded
        width = loaded.model.embedding_size if self._embeds else loaded.model.vocab.size
        layout = loaded.state_layout
        needed = num_cells * (layout.cell_bytes if layout else 0)
        needed += 4 * width * self.max_batch + loaded.compute_bytes
        available = free_bytes(loaded.devices)
        if available is not None and needed > available:
            raise _no_memory(f"no memory is left for a context of {num_cells} cells")
        options = replace(
            loaded.context_options,
            num_cells=num_cells,
            num_seqs=1,
            num_rows=self.max_batch,
            max_batch=self.max_batch,
            embeds=self._embeds,
        )
        try:
            return Context(loaded.model.handle, width, options, loaded.interrupt)
        except ContextError as error:
            raise _no_memory(str(error)) from None


def _no_memory(message: str) -> RunnerError:
    return RunnerError(message, code="OUT_OF_MEMORY")
