"""How llama.cpp lays out a saved sequence, and whether some bytes are one.

It checks little itself: it reserves cells for whatever count it finds, its asserts end the
process, and numbers it takes as they are. So nothing reaches it that differs from what this very
context would have written, but for which finite numbers the cells hold. The layout is learnt from
a state that the context did write.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MAGIC = 0xAF143CD8
_U32 = struct.Struct("<I")
BLOCK_TYPE = struct.Struct("<i")
# Of each type of cell: bytes of a floating-point number, how it writes infinity, and how many such
# lie from one to the next. f32; f16; q4_0, a scale and 32 values of 4 bits; q8_0, of 8.
_NUMBERS = {0: (4, 0x7F800000, 1), 1: (2, 0x7C00, 1), 2: (2, 0x7C00, 9), 8: (2, 0x7C00, 17)}


class LayoutError(Exception):
    """These bytes are not a state of the context."""


@dataclass(frozen=True, slots=True)
class Block:
    """A layer's keys or values: `header`, then `columns` times a cell's `unit` bytes, cell by cell.

    Keys are one column. Values are too, unless they are kept transposed.
    """

    header: bytes
    columns: int
    unit: int

    @property
    def cell_bytes(self) -> int:
        return self.columns * self.unit


@dataclass(frozen=True, slots=True)
class Section:
    """One of the caches that a context is made of: that of the layers with a sliding window, or
    that of the others."""

    is_transposed: bool
    num_layers: int
    blocks: tuple[Block, ...]

    @property
    def cell_bytes(self) -> int:
        return sum(block.cell_bytes for block in self.blocks)


@dataclass(frozen=True, slots=True)
class StateLayout:
    """What the states of one model and its context settings look like.

    Of each cell there are `meta_bytes`. `recurrent` are the layers that keep one state instead of
    a cell for each position.
    """

    meta_bytes: int
    sections: tuple[Section, ...]
    window: int
    recurrent: Section | None = None

    @property
    def cell_bytes(self) -> int:
        """What a cell takes in memory, in all layers."""
        return sum(section.cell_bytes for section in self.sections)

    def check(self, state: bytes, num_tokens: int | None, *, in_order: bool = False) -> None:
        """Raises LayoutError unless it is the state of that many tokens (None: of any number).

        With `in_order` the cells must also be those of ascending positions.
        """
        at = check_head(state)
        for index, section in enumerate(self.sections):
            cells, at = cells_at(state, at, self.meta_bytes)
            if num_tokens is None:
                num_tokens = len(cells)
            is_window = index > 0 and self.window > 0
            first = max(0, num_tokens - self.window) if is_window else 0
            _check_cells(cells, range(first, num_tokens), in_order)
            at = _check_blocks(state, at, section, len(cells))
        if self.recurrent is not None:
            position, at = recurrent_at(state, at)
            if num_tokens not in (None, position + 1):
                raise LayoutError(f"a state after position {position}")
            at = _check_blocks(state, at, self.recurrent, 1)
        if at != len(state):
            raise LayoutError(f"{len(state)} bytes instead of {at}")

    def fill_window(self, state: bytes) -> bytes:
        """The same state, with empty cells for what a sliding window has passed.

        Put into an empty cache, each cell then comes to lie where it was computed, on which the
        last bits of what follows depend.
        """
        parts: list[bytes] = [state[:8]]
        at = 8
        for section in self.sections:
            start = at
            cells, at = cells_at(state, at, self.meta_bytes)
            missing = int(cells[0, 0])
            meta = np.zeros((missing, self.meta_bytes // 4), np.int32)
            meta[:, 0] = np.arange(missing)
            meta[:, 1] = 1
            parts += [state[start : start + 4], _U32.pack(missing + len(cells)), meta.tobytes()]
            parts.append(state[start + 8 : at])
            for header, block in zip(_headers(section), (None, *section.blocks), strict=True):
                parts.append(header)
                at += len(header)
                if block is None:
                    continue
                for _ in range(block.columns):
                    size = len(cells) * block.unit
                    parts += [bytes(missing * block.unit), state[at : at + size]]
                    at += size
        return b"".join([*parts, state[at:]])


def check_head(state: bytes) -> int:
    if len(state) < 8 or _U32.unpack_from(state)[0] != _MAGIC:
        raise LayoutError("not a state")
    return 8  # the sequence it was is of no account


def cells_at(state: bytes, at: int, meta_bytes: int) -> tuple[NDArray[np.int32], int]:
    """The cells of a section, as (position, number of sequences, …), and where its blocks begin."""
    if at + 8 > len(state):
        raise LayoutError(f"cut off at byte {len(state)}")
    num_streams, count = struct.unpack_from("<II", state, at)
    at += 8
    end = at + count * meta_bytes
    if num_streams != 1:
        raise LayoutError(f"{num_streams} streams instead of 1")
    if not 0 < count <= len(state) // meta_bytes or end > len(state):
        raise LayoutError(f"{count} cells in {len(state)} bytes")
    cells = np.frombuffer(state, np.int32, count * meta_bytes // 4, at)
    return cells.reshape(count, meta_bytes // 4), end


def _check_cells(cells: NDArray[np.int32], expected: range, in_order: bool) -> None:
    if len(cells) != len(expected):
        raise LayoutError(f"{len(cells)} cells instead of {len(expected)}")
    if (cells[:, 1] != 1).any():
        raise LayoutError("a cell of more than one sequence, or of none")
    positions = cells[:, 0] if in_order else np.sort(cells[:, 0])
    if (positions != np.arange(expected.start, expected.stop)).any():
        raise LayoutError(f"positions other than {expected.start} to {expected.stop - 1}")


def recurrent_at(state: bytes, at: int) -> tuple[int, int]:
    """The last position of a recurrent section, and where its blocks begin."""
    if at + 12 > len(state):
        raise LayoutError(f"cut off at byte {len(state)}")
    count, position, num_seqs = struct.unpack_from("<IiI", state, at)
    if (count, num_seqs) != (1, 0) or position < 0:
        raise LayoutError(f"{count} states, the first after position {position}")
    return position, at + 12


def _check_blocks(state: bytes, at: int, section: Section, count: int) -> int:
    """Those of a section of that many cells; where they end."""
    for header, size in _blocks(section, count):
        if state[at : at + len(header)] != header:
            raise LayoutError(f"another model's or another setting's, at byte {at}")
        at += len(header)
        if at + size > len(state):
            raise LayoutError(f"cut off at byte {len(state)}")
        if size:
            _check_values(state, at, size, header)
        at += size
    return at


def _check_values(state: bytes, at: int, size: int, header: bytes) -> None:
    """A cell that holds what is not a finite number spoils other sequences' attention, though it
    is masked there, and goes on doing so when it is free again."""
    kind, infinity, stride = _NUMBERS[BLOCK_TYPE.unpack_from(header)[0]]
    numbers = np.frombuffer(state, f"u{kind}", size // kind, at)[::stride]
    # Those whose exponent is all ones are the largest of either sign, seen as integers.
    minus_infinity = infinity | 1 << (8 * kind - 1)
    if int(numbers.view(f"i{kind}").max()) >= infinity or int(numbers.max()) >= minus_infinity:
        raise LayoutError(f"a value that is not a finite number, after byte {at}")


def _headers(section: Section) -> Iterator[bytes]:
    yield struct.pack("<II", section.is_transposed, section.num_layers)
    for block in section.blocks:
        yield block.header


def _blocks(section: Section, count: int) -> Iterator[tuple[bytes, int]]:
    """The headers of a section of that many cells, each with the bytes that follow it."""
    headers = _headers(section)
    yield next(headers), 0
    for header, block in zip(headers, section.blocks, strict=True):
        yield header, count * block.cell_bytes
