"""The tensor table: how many bytes the weights are, and whether the file holds them all."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from pool_core.gguf.cursor import Cursor
from pool_core.gguf.types import TENSOR_TYPES, U32, U64

_MAX_NAME = 1024
_MAX_DIMENSIONS = 4


@dataclass(frozen=True, slots=True)
class TensorTable:
    """Sums over all tensors. `by_type` maps a type's name to the bytes of its tensors."""

    count: int
    parameters: int
    size: int
    by_type: dict[str, int] = field(default_factory=dict)

    def __add__(self, other: TensorTable) -> TensorTable:
        names = self.by_type.keys() | other.by_type.keys()
        return TensorTable(
            self.count + other.count,
            self.parameters + other.parameters,
            self.size + other.size,
            {name: self.by_type.get(name, 0) + other.by_type.get(name, 0) for name in names},
        )


def read_tensors(cursor: Cursor, count: int, alignment: int, file_size: int) -> TensorTable:
    """Read the table. Raises HeaderError when the file ends before the last tensor does."""
    by_type: dict[str, int] = {}
    parameters = end = 0
    all_known = True
    for _ in range(count):
        name = cursor.string("a tensor's name", _MAX_NAME)
        shape = _shape(cursor, name)
        kind = cursor.read(U32, f"the type of {name}")
        offset = cursor.read(U64, f"the offset of {name}")
        values = prod(shape)
        parameters += values
        known = TENSOR_TYPES.get(kind)
        all_known = all_known and known is not None
        size = -(-values // known.block) * known.size if known else 0
        label = known.name if known else f"type {kind}"
        by_type[label] = by_type.get(label, 0) + size
        end = max(end, offset + size)
    start = -(-cursor.offset // alignment) * alignment
    if count and start + end > file_size:
        raise cursor.error(f"{start + end} bytes", f"{file_size}: the file is cut short")
    # Of types newer than our table only the length of the file tells the size.
    size = sum(by_type.values()) if all_known else file_size - start
    return TensorTable(count, parameters, size, by_type)


def _shape(cursor: Cursor, name: str) -> list[int]:
    if not name:
        raise cursor.error("a tensor's name", f"an empty one before byte {cursor.offset}")
    dimensions = cursor.read(U32, f"the shape of {name}")
    if dimensions > _MAX_DIMENSIONS:
        raise cursor.error(f"at most {_MAX_DIMENSIONS} dimensions of {name}", f"{dimensions}")
    return [cursor.read(U64, f"the shape of {name}") for _ in range(dimensions)]
