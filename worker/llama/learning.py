"""Learning the layout of a context's states from one that it wrote."""

from __future__ import annotations

import struct

from worker.llama.state import (
    Block,
    LayoutError,
    Section,
    StateLayout,
    cells_at,
    check_head,
    recurrent_at,
)

_BLOCK = struct.Struct("<iQ")  # type, bytes of a cell
_BLOCK_BY_COLUMN = struct.Struct("<iII")  # type, bytes of a value, values of a cell
_META_BYTES = 12  # of a cell: position, number of sequences, the sequence
# Positions in two dimensions and the token, for models whose positions are not a number.
_EXTENSION_BYTES = 12


def learn(state: bytes, window: int, *, is_recurrent: bool = False) -> StateLayout | None:
    """None if it is of a kind not known here.

    The state does not say everything of itself: what fits it to the last byte is its layout.
    """
    for meta_bytes in (_META_BYTES, _META_BYTES + _EXTENSION_BYTES):
        for has_values in (True, False):
            for num_sections in (1, 2, 0):
                try:
                    at = check_head(state)
                    sections = []
                    for _ in range(num_sections):
                        section, at = _section(state, at, meta_bytes, has_values)
                        sections.append(section)
                    recurrent = _recurrent(state, at) if is_recurrent else None
                    layout = StateLayout(meta_bytes, tuple(sections), window, recurrent)
                    layout.check(state, None)
                    return layout
                except (LayoutError, struct.error, KeyError):
                    continue
    return None


def _section(state: bytes, at: int, meta_bytes: int, has_values: bool) -> tuple[Section, int]:
    cells, at = cells_at(state, at, meta_bytes)
    is_transposed, num_layers = struct.unpack_from("<II", state, at)
    at += 8
    blocks: list[Block] = []
    for index in range(num_layers * (2 if has_values else 1)):
        block = _block(state, at, bool(is_transposed) and index >= num_layers)
        blocks.append(block)
        at += len(block.header) + len(cells) * block.cell_bytes
    return Section(bool(is_transposed), num_layers, tuple(blocks)), at


def _recurrent(state: bytes, at: int) -> Section:
    """What is left of the state; how many of the layers are recurrent, it does not say."""
    _, at = recurrent_at(state, at)
    is_transposed, num_layers = struct.unpack_from("<II", state, at)
    at += 8
    if is_transposed:
        raise LayoutError("a transposed recurrent state")
    blocks: list[Block] = []
    while at < len(state):
        block = _block(state, at, by_column=False)
        blocks.append(block)
        at += len(block.header) + block.cell_bytes
    return Section(False, num_layers, tuple(blocks))


def _block(state: bytes, at: int, by_column: bool) -> Block:
    if by_column:
        _, unit, columns = _BLOCK_BY_COLUMN.unpack_from(state, at)
        return Block(state[at : at + _BLOCK_BY_COLUMN.size], columns, unit)
    _, unit = _BLOCK.unpack_from(state, at)
    return Block(state[at : at + _BLOCK.size], 1, unit)
