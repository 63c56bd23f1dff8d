"""Contexts of one sequence each, for those that must not be touched by what others do."""

from __future__ import annotations

from dataclasses import replace

from worker.engine.runner import RunnerError
from worker.engine.slots import CELLS_PER_BLOCK, blocks_for
from worker.llama.context import Context, ContextError
from worker.llama.fit import free_bytes
from worker.llama.load import LoadedModel

# A context much larger than what it holds would keep memory from others.
_MAX_SPARE_FACTOR = 4


class OwnContexts:
    """The slots that have a context of their own. One that was released is kept for the next."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self._contexts: dict[int, Context] = {}
        self._spare: Context | None = None

    def get(self, slot: int) -> Context | None:
        return self._contexts.get(slot)

    def open(self, slot: int, max_cells: int) -> None:
        """Raises RunnerError when there is no memory for it."""
        num_cells = blocks_for(max_cells) * CELLS_PER_BLOCK
        spare = self._spare
        if spare is not None and num_cells <= spare.num_cells <= _MAX_SPARE_FACTOR * num_cells:
            self._spare = None
            self._contexts[slot] = spare
        else:
            self._contexts[slot] = self._make(num_cells)

    def close(self, slot: int) -> None:
        """Nothing for a slot that has none."""
        context = self._contexts.pop(slot, None)
        if context is None:
            return
        if self._spare is None:
            context.clear()
            self._spare = context
        else:
            context.close()

    def close_all(self) -> None:
        for context in self._contexts.values():
            context.close()
        self._contexts.clear()
        self._drop_spare()

    def _make(self, num_cells: int) -> Context:
        self._drop_spare()
        loaded = self._loaded
        self._check_memory(num_cells)
        options = replace(
            loaded.context_options, num_cells=num_cells, num_seqs=1, max_batch=CELLS_PER_BLOCK
        )
        try:
            return Context(loaded.model.handle, loaded.model.vocab.size, options, loaded.interrupt)
        except ContextError as error:
            raise RunnerError(str(error), code="OUT_OF_MEMORY") from None

    def _check_memory(self, num_cells: int) -> None:
        """An operating system that overcommits would end the process when the cells fill."""
        layout, available = self._loaded.layout, free_bytes(self._loaded.devices)
        if layout is None or available is None:
            return
        needed = num_cells * layout.cell_bytes + self._loaded.compute_bytes
        if needed > available:
            raise RunnerError(
                f"a context of {num_cells} cells needs {needed} bytes, {available} are free",
                code="OUT_OF_MEMORY",
            )

    def _drop_spare(self) -> None:
        if self._spare is not None:
            self._spare.close()
            self._spare = None
