"""Contexts of one sequence each, for those that must not be touched by what others do."""

from __future__ import annotations

from dataclasses import replace

from worker.engine.blocks import CELLS_PER_BLOCK, blocks_for
from worker.engine.runner import RunnerError
from worker.llama.context import Context, ContextError
from worker.llama.fit import free_bytes
from worker.llama.load import LoadedModel

# Of the shared context's cells, how many may be kept in contexts that nobody uses.
_SPARE_SHARE = 4
# A context much larger than what it holds would keep it from those who need it.
_MAX_ROOM = 4


class OwnContexts:
    """The slots that have a context of their own.

    Making one takes as long as a few steps, so some that were released are kept, emptied: what
    is computed in such a one is the same to the last bit.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self._contexts: dict[int, Context] = {}
        self._spares: list[Context] = []
        self._max_spare_cells = loaded.context_options.num_cells // _SPARE_SHARE

    @property
    def is_empty(self) -> bool:
        return not self._contexts

    def get(self, slot: int) -> Context | None:
        return self._contexts.get(slot)

    def open(self, slot: int, max_cells: int) -> None:
        """Raises RunnerError when there is no memory for it."""
        assert slot not in self._contexts, "isolated already"
        num_cells = blocks_for(max_cells) * CELLS_PER_BLOCK
        fitting = [s for s in self._spares if num_cells <= s.num_cells <= _MAX_ROOM * num_cells]
        if fitting:
            context = min(fitting, key=lambda spare: spare.num_cells)
            self._spares.remove(context)
        else:
            context = self._make(num_cells)
        self._contexts[slot] = context

    def close(self, slot: int) -> None:
        """The slot has no context any more."""
        context = self._contexts.pop(slot)
        kept = sum(spare.num_cells for spare in self._spares)
        if kept + context.num_cells <= self._max_spare_cells:
            context.clear()
            self._spares.append(context)
        else:
            context.close()

    def close_all(self) -> None:
        for context in self._contexts.values():
            context.close()
        self._contexts.clear()
        self._drop_spares()

    def _make(self, num_cells: int) -> Context:
        if not self._fits(num_cells):
            self._drop_spares()
            if not self._fits(num_cells):
                raise _no_memory(f"no memory is left for a context of {num_cells} cells")
        loaded = self._loaded
        options = replace(
            loaded.context_options,
            num_cells=num_cells,
            num_seqs=1,
            num_rows=1,
            max_batch=CELLS_PER_BLOCK,
        )
        try:
            return Context(loaded.model.handle, loaded.model.vocab.size, options, loaded.interrupt)
        except ContextError as error:
            raise _no_memory(str(error)) from None

    def _fits(self, num_cells: int) -> bool:
        """An operating system that overcommits would end the process when the cells fill."""
        available = free_bytes(self._loaded.devices)
        layout = self._loaded.state_layout
        cell_bytes = layout.cell_bytes if layout else 0
        needed = num_cells * cell_bytes + self._loaded.compute_bytes
        return available is None or needed <= available

    def _drop_spares(self) -> None:
        for spare in self._spares:
            spare.close()
        self._spares.clear()


def _no_memory(message: str) -> RunnerError:
    return RunnerError(message, code="OUT_OF_MEMORY")
