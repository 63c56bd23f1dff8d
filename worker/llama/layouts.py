"""How a model's shared context may be laid out."""

from __future__ import annotations

from dataclasses import replace

from pool_core.spawn.report import WorkerExit
from worker.engine.blocks import CELLS_PER_BLOCK
from worker.engine.runner import Layout
from worker.llama.context import ContextOptions
from worker.llama.errors import LoadError
from worker.llama.options import LoadOptions

# With fewer cells of its own a slot would seldom hold a whole conversation.
_MIN_SLOT_CELLS = 2 * CELLS_PER_BLOCK
# On a CPU flash attention is the slower way from some 400 cells on, at 2,000 by half (0.5B shape,
# benchmarks/RESULTS.md). But it passes over other sequences' cells, and needs no scores in memory.
_MIN_PLAIN_CELLS = 2048
_MAX_SCORE_BYTES = 256 << 20
_MIN_PLAIN_ROWS, _ROWS_MULTIPLE = 64, 16


def layouts_for(options: LoadOptions, context: ContextOptions, memory: str) -> tuple[Layout, ...]:
    """Those that `options.kv_layout` allows for this kind of memory, the one to start with first.

    `context` is what the unified one has. Raises LoadError when there would be none.
    """
    unified = Layout(False, context.num_seqs, context.num_cells)
    if options.kv_layout == "unified":
        return (unified,)
    num_slots = min(options.slots, context.num_seqs)
    # Whole blocks for each: llama.cpp would round a share up, beyond the cells that there are.
    share = context.num_cells // num_slots // CELLS_PER_BLOCK * CELLS_PER_BLOCK
    split = Layout(True, num_slots, share)
    if options.kv_layout == "auto":
        if memory == "full" and options.slots == 1:
            return (split,)
        is_good = memory == "full" and num_slots > 1 and share >= _MIN_SLOT_CELLS
        return (split, unified) if is_good else (unified,)
    if memory != "full":
        raise LoadError(
            f"the cells of a {memory} memory cannot be split",
            WorkerExit.FAILED,
            "choose --kv-layout auto",
        )
    if not share:
        raise LoadError(
            f"{context.num_cells} cells split among {num_slots} slots are fewer than "
            f"{CELLS_PER_BLOCK} for each",
            WorkerExit.FAILED,
            "choose a larger --ctx, fewer --slots, or --kv-layout auto",
        )
    return (split,)


def laid_out(context: ContextOptions, layout: Layout) -> ContextOptions:
    """The options of a context with that layout."""
    rows = _plain_rows(context, layout)
    return replace(
        context,
        flash_attention=False if rows else context.flash_attention,
        max_rows_at_once=rows,
        num_cells=layout.num_cells,
        num_seqs=layout.num_slots,
        is_split=layout.is_split,
    )


def _plain_rows(context: ContextOptions, layout: Layout) -> int:
    """How many rows go through the model at a time without flash attention; 0: better with it."""
    if not (context.score_bytes and layout.is_split and layout.slot_cells >= _MIN_PLAIN_CELLS):
        return 0
    rows = _MAX_SCORE_BYTES // (context.score_bytes * layout.slot_cells)
    rows = min(rows, context.max_batch) // _ROWS_MULTIPLE * _ROWS_MULTIPLE
    return rows if rows >= _MIN_PLAIN_ROWS else 0
