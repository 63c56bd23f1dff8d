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
_BLOCK_TYPE = struct.Struct("<i")
_BLOCK = struct.Struct("<iQ")  # type, bytes of a cell
_BLOCK_BY_COLUMN = struct.Struct("<iII")  # type, bytes of a value, values of a cell
# Of each type of cell, how many half-precision numbers lie from one that scales to the next: f16,
# q4_0 (a scale and 32 values of 4 bits), q8_0 (a scale and 32 of 8).
_HALVES_APART = {1: 1, 2: 9, 8: 17}
# Positions in two dimensions and the token, for models whose positions are not a number.
_EXTENSION_BYTES = 12


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
class Layout:
    """What the states of one model and its context settings look like."""

    meta_bytes: int
    sections: tuple[Section, ...]
    window: int

    @classmethod
    def learn(cls, state: bytes, window: int) -> Layout | None:
        """From a state that a context wrote; None if it is of a kind not known here."""
        for meta_bytes in (12, 12 + _EXTENSION_BYTES):
            for has_values in (True, False):
                try:
                    sections = tuple(_learn_sections(state, meta_bytes, has_values))
                    layout = cls(meta_bytes, sections, window)
                    layout.check(state, None)
                    return layout
                except (LayoutError, struct.error):
                    continue
        return None

    @property
    def cell_bytes(self) -> int:
        """What a cell takes in memory, in all layers."""
        return sum(section.cell_bytes for section in self.sections)

    def check(self, state: bytes, num_tokens: int | None, *, in_order: bool = False) -> None:
        """Raises LayoutError unless it is the state of that many tokens (None: of any number).

        With `in_order` the cells must also be those of ascending positions.
        """
        at = _check_head(state)
        for index, section in enumerate(self.sections):
            cells, at = _cells(state, at, self.meta_bytes)
            if num_tokens is None:
                num_tokens = len(cells)
            is_window = index > 0 and self.window > 0
            first = max(0, num_tokens - self.window) if is_window else 0
            _check_cells(cells, range(first, num_tokens), in_order)
            for header, size in _blocks(section, len(cells)):
                if state[at : at + len(header)] != header:
                    raise LayoutError(f"another model's or another setting's, at byte {at}")
                at += len(header)
                if at + size > len(state):
                    raise LayoutError(f"cut off at byte {len(state)}")
                if size:
                    _check_values(state, at, size, header)
                at += size
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
            cells, at = _cells(state, at, self.meta_bytes)
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
        return b"".join(parts)


def _check_head(state: bytes) -> int:
    if len(state) < 8 or _U32.unpack_from(state)[0] != _MAGIC:
        raise LayoutError("not a state")
    return 8  # the sequence it was is of no account


def _cells(state: bytes, at: int, meta_bytes: int) -> tuple[NDArray[np.int32], int]:
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


def _check_values(state: bytes, at: int, size: int, header: bytes) -> None:
    """A cell that holds what is not a finite number spoils other sequences' attention, though it
    is masked there, and goes on doing so when it is free again."""
    stride = _HALVES_APART[_BLOCK_TYPE.unpack_from(header)[0]]
    halves = np.frombuffer(state, np.uint16, size // 2, at)[::stride]
    # Halves whose exponent is all ones are the largest of either sign, seen as integers.
    if int(halves.view(np.int16).max()) >= 0x7C00 or int(halves.max()) >= 0xFC00:
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


def _learn_sections(state: bytes, meta_bytes: int, has_values: bool) -> Iterator[Section]:
    at = _check_head(state)
    while at < len(state):
        cells, at = _cells(state, at, meta_bytes)
        is_transposed, num_layers = struct.unpack_from("<II", state, at)
        at += 8
        blocks: list[Block] = []
        for index in range(num_layers * (2 if has_values else 1)):
            by_column = bool(is_transposed) and index >= num_layers
            block = _learn_block(state, at, by_column)
            blocks.append(block)
            at += len(block.header) + len(cells) * block.cell_bytes
        yield Section(bool(is_transposed), num_layers, tuple(blocks))


def _learn_block(state: bytes, at: int, by_column: bool) -> Block:
    if by_column:
        _, unit, columns = _BLOCK_BY_COLUMN.unpack_from(state, at)
        return Block(state[at : at + _BLOCK_BY_COLUMN.size], columns, unit)
    _, unit = _BLOCK.unpack_from(state, at)
    return Block(state[at : at + _BLOCK.size], 1, unit)
