"""States of a context that keeps values by column, as attention in plain steps wants them.

llama.cpp writes the values of such a layer transposed: all cells' first number, then all cells'
second. They are kept as other contexts write them, cell by cell, so that one may go on in any
other. Both are of the same size. This holds for a memory of one section of cells.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from worker.llama.state import Block, StateLayout

_COUNT = struct.Struct("<I")
_SECTION = struct.Struct("<II")  # whether values are by column, layers
_BY_CELL = struct.Struct("<iQ")  # type, bytes of a cell
_BY_COLUMN = struct.Struct("<iII")  # type, bytes of a number, columns
_COUNT_AT = 12  # after magic, sequence and the number of streams


def by_cell_layout(layout: StateLayout) -> StateLayout:
    """What the states look like once they are turned."""
    (section,) = layout.sections
    blocks = tuple(
        Block(_BY_CELL.pack(_type(block), block.cell_bytes), 1, block.cell_bytes)
        if at >= section.num_layers
        else block
        for at, block in enumerate(section.blocks)
    )
    return replace(layout, sections=(replace(section, is_transposed=False, blocks=blocks),))


def turn_to_cells(state: NDArray[np.uint8], layout: StateLayout) -> None:
    """In place, from what a context by column wrote; `layout` is that of the outcome."""
    for at, block, count, size in _values(state, layout):
        state[at : at + _BY_CELL.size] = _octets(block.header)
        columns = block.cell_bytes // size
        turned = _numbers(state, at, size, count * columns).reshape(columns, count).T
        _numbers(state, at, size, count * columns).reshape(count, columns)[:] = turned.copy()
    _mark(state, layout, by_column=False)


def turn_to_columns(state: NDArray[np.uint8], layout: StateLayout) -> None:
    """In place, what a context by column reads; `layout` is that of the state as it is."""
    for at, block, count, size in _values(state, layout):
        columns = block.cell_bytes // size
        header = _BY_COLUMN.pack(_type(block), size, columns)
        state[at : at + _BY_COLUMN.size] = _octets(header)
        turned = _numbers(state, at, size, count * columns).reshape(count, columns).T
        _numbers(state, at, size, count * columns).reshape(columns, count)[:] = turned.copy()
    _mark(state, layout, by_column=True)


def _values(state: NDArray[np.uint8], layout: StateLayout) -> Iterator[tuple[int, Block, int, int]]:
    """Where each layer's values begin, their block, how many cells, and bytes of a number."""
    (section,) = layout.sections
    (count,) = _COUNT.unpack_from(state.data, _COUNT_AT)
    at = _section_at(count, layout) + _SECTION.size
    for index, block in enumerate(section.blocks):
        if index >= section.num_layers:
            yield at, block, count, _NUMBER_BYTES[_type(block)]
        at += len(block.header) + count * block.cell_bytes


def _mark(state: NDArray[np.uint8], layout: StateLayout, *, by_column: bool) -> None:
    (count,) = _COUNT.unpack_from(state.data, _COUNT_AT)
    at = _section_at(count, layout)
    head = _SECTION.pack(by_column, layout.sections[0].num_layers)
    state[at : at + _SECTION.size] = _octets(head)


def _section_at(count: int, layout: StateLayout) -> int:
    return _COUNT_AT + _COUNT.size + count * layout.meta_bytes


def _numbers(
    state: NDArray[np.uint8], at: int, size: int, count: int
) -> NDArray[np.unsignedinteger]:
    start = at + _BY_CELL.size
    return state[start : start + count * size].view(f"u{size}")


def _type(block: Block) -> int:
    kind: int = struct.unpack_from("<i", block.header)[0]
    return kind


def _octets(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


_NUMBER_BYTES = {0: 4, 1: 2}  # ggml's f32 and f16: others cannot be kept by column
