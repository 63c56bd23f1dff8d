"""What a model's memory can do, and what a saved part of it looks like."""

from __future__ import annotations

from typing import NamedTuple

from worker.engine.runner import MemoryTraits
from worker.llama.context import Context
from worker.llama.learning import learn
from worker.llama.model import Model
from worker.llama.state import StateLayout
from worker.llama.turned import by_cell_layout


class _Probe(NamedTuple):
    """Two tokens, whichever, to see what a state of them looks like."""

    tokens: list[int]
    start: int = 0
    num_rows: int = 0


def learn_layout(model: Model, context: Context) -> StateLayout | None:
    """From the first two tokens that the model computes; the context is empty again afterwards.

    None for states of a kind not known here. Raises RunnerError when the model does not compute.
    """
    context.decode([_Probe([0, 0])], [0])
    state = context.state(0)
    context.clear()
    layout = learn(state, model.window, is_recurrent=model.has_recurrent_layers)
    if layout is not None and context.has_values_by_column:
        layout = by_cell_layout(layout)
    context.state_layout = layout
    return layout


def memory_kind(model: Model) -> str:
    """As MemoryTraits names it."""
    if model.has_recurrent_layers:
        return "hybrid" if model.is_hybrid else "recurrent"
    return "window" if model.window else "full"


def memory_traits(model: Model, layout: StateLayout | None) -> MemoryTraits:
    return MemoryTraits(
        kind=memory_kind(model),
        window=model.window,
        can_trim=not model.has_recurrent_layers,
        can_restore=layout is not None,
    )
