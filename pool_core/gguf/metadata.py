"""The key/value part of a header."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from pool_core.gguf.cursor import Cursor
from pool_core.gguf.types import ARRAY, SCALARS, STRING, U32, U64

_MAX_KEY = 65535
_MAX_KEPT_ARRAY = 1024  # per-layer numbers are kept; vocabularies, scores and types are not
_MAX_KEPT_TEXT = 4096  # names are kept; chat templates are not


@dataclass(frozen=True, slots=True)
class Skipped:
    """A value that was passed over: an array of `length` elements, or a text of that many bytes."""

    length: int


Numbers = tuple[int | float | bool, ...]
Value = int | float | bool | str | Numbers | Skipped
T = TypeVar("T")


class Metadata:
    """The values by key, with typed access that names what is wrong."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._values: dict[str, Value] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def read(self, count: int, *, facts_only: bool) -> bool:
        """Read `count` pairs. With `facts_only`, stop before the vocabulary once the rest is known.

        Whether all were read, so that the tensors come next.
        """
        for _ in range(count):
            key = self._cursor.string("a key", _MAX_KEY)
            if not key:
                raise self._cursor.error("a key", f"an empty one before byte {self._cursor.offset}")
            kind = self._cursor.read(U32, f"the type of {key}")
            self._values[key] = self._value(kind, key, facts_only)
            if facts_only and self._is_enough(key):
                return False
        return True

    def _is_enough(self, key: str) -> bool:
        return key == "tokenizer.ggml.tokens" and "general.file_type" in self._values

    def _value(self, kind: int, key: str, facts_only: bool) -> Value:
        if kind == STRING:
            text = self._cursor.string(key)
            return text if len(text) <= _MAX_KEPT_TEXT else Skipped(len(text))
        if kind == ARRAY:
            return self._array(key, facts_only)
        if kind not in SCALARS:
            raise self._cursor.error(f"a known type for {key}", f"type {kind}")
        scalar: int | float | bool = self._cursor.read(SCALARS[kind], key)
        return scalar

    def _array(self, key: str, facts_only: bool) -> Value:
        kind = self._cursor.read(U32, f"the element type of {key}")
        count = self._cursor.read(U64, f"the length of {key}")
        if kind == STRING:
            # Where nothing after the vocabulary is wanted, its texts need not be walked.
            if not (facts_only and self._is_enough(key)):
                self._cursor.skip_strings(count, key)
            return Skipped(count)
        if kind not in SCALARS:
            raise self._cursor.error(f"an array of a known type in {key}", f"type {kind}")
        element = SCALARS[kind]
        if count > _MAX_KEPT_ARRAY:
            self._cursor.skip(count * element.size, key)
            return Skipped(count)
        return tuple(self._cursor.read(element, key) for _ in range(count))

    def text(self, key: str) -> str | None:
        value = self._values.get(key)
        if value is None or isinstance(value, str):
            return value
        raise self._cursor.error(f"a text in {key}", _describe(value))

    def number(self, key: str) -> int | None:
        value = self._values.get(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
            return value
        raise self._cursor.error(f"a whole number in {key}", _describe(value))

    def numbers(self, key: str) -> int | tuple[int, ...] | None:
        """A number, or one for each layer."""
        value = self._values.get(key)
        if isinstance(value, tuple):
            if all(isinstance(item, int) and item >= 0 for item in value):
                return tuple(int(item) for item in value)
            raise self._cursor.error(f"whole numbers in {key}", _describe(value))
        return self.number(key)

    def length(self, key: str) -> int | None:
        """How many elements an array has."""
        value = self._values.get(key)
        if isinstance(value, Skipped):
            return value.length
        return len(value) if isinstance(value, tuple) else None

    def require(self, value: T | None, key: str) -> T:
        if value is None:
            raise self._cursor.error(f"the key {key}", "none")
        return value


def _describe(value: Value) -> str:
    match value:
        case str():
            return f'the text "{value[:40]}"'
        case Skipped(length=length):
            return f"{length} values"
        case tuple():
            return f"{len(value)} values"
        case _:
            return str(value)
