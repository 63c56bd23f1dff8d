"""Reading the head of a GGUF file: preamble, key/value pairs, tensor table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pool_core.files import clear_os_errors
from pool_core.gguf.cursor import Cursor
from pool_core.gguf.errors import HeaderError
from pool_core.gguf.header import GgufHeader
from pool_core.gguf.metadata import Metadata
from pool_core.gguf.sniff import describe_beginning
from pool_core.gguf.tensors import TensorTable, read_tensors
from pool_core.gguf.types import U32, U64

_PREAMBLE = 24  # magic, version, number of tensors, number of pairs
_MAX_PAIRS = 1 << 16
_MAX_TENSORS = 1 << 18
_MAX_ALIGNMENT = 1 << 20
_DEFAULT_ALIGNMENT = 32
_FIRST_SHARD = re.compile(r"(?P<stem>.+)-00001-of-(?P<count>\d{5})\.gguf")


@dataclass(frozen=True, slots=True)
class _Head:
    """What was read of one file. `tensors` is None when reading stopped before them."""

    path: Path
    version: int
    file_size: int
    metadata: Metadata
    tensors: TensorTable | None

    @property
    def shard(self) -> tuple[int, int]:
        """Which shard of how many, from 1; (1, 1) for a file that is not split."""
        number, count = self.metadata.number("split.no"), self.metadata.number("split.count")
        return (number or 0) + 1, count or 1


def read_header(path: Path, *, facts_only: bool = False) -> GgufHeader:
    """Read the head of a model, and check that the file is long enough for its tensors.

    Of a split model give the first shard: the others are found beside it and counted in.
    `facts_only` stops at the vocabulary where it can: a fraction of a millisecond instead of
    tens, and no check of the length. Raises HeaderError, or what `clear_os_errors` raises.
    """
    head = _read_head(path, facts_only=facts_only)
    number, count = head.shard
    if number > 1:
        raise HeaderError(path, "the first shard", f"shard {number} of {count}")
    header = _make_header(head)
    if count > 1 and header.tensors is not None:
        return replace(header, tensors=_with_shards(path, count, header.tensors))
    return header


def _read_head(path: Path, *, facts_only: bool) -> _Head:
    with clear_os_errors(path), path.open("rb", buffering=0) as file:
        size = path.stat().st_size
        cursor = Cursor(file, size, path)
        version, num_tensors, num_pairs = _read_preamble(cursor, size)
        metadata = Metadata(cursor)
        is_complete = metadata.read(num_pairs, facts_only=facts_only)
        tensors = None
        if is_complete:
            tensors = read_tensors(cursor, num_tensors, _alignment(cursor, metadata), size)
    return _Head(path, version, size, metadata, tensors)


def _read_preamble(cursor: Cursor, size: int) -> tuple[int, int, int]:
    """Version, number of tensors, number of key/value pairs."""
    data = cursor.take(min(size, _PREAMBLE), "a header")
    if not data.startswith(b"GGUF"):
        raise cursor.error('a GGUF file, which begins with "GGUF"', describe_beginning(data))
    if size < _PREAMBLE:
        raise cursor.error(f"a header of {_PREAMBLE} bytes", f"the end of the file at {size}")
    version = U32.unpack_from(data, 4)[0]
    if version not in (2, 3):
        is_swapped = int.from_bytes(data[4:8], "big") in (2, 3)
        found = "a big-endian file" if is_swapped else f"version {version}"
        raise cursor.error("GGUF version 2 or 3", found)
    num_tensors = U64.unpack_from(data, 8)[0]
    num_pairs = U64.unpack_from(data, 16)[0]
    if num_tensors > _MAX_TENSORS:
        raise cursor.error(f"at most {_MAX_TENSORS} tensors", f"{num_tensors}")
    if num_pairs > _MAX_PAIRS:
        raise cursor.error(f"at most {_MAX_PAIRS} key/value pairs", f"{num_pairs}")
    return version, num_tensors, num_pairs


def _alignment(cursor: Cursor, metadata: Metadata) -> int:
    alignment = metadata.number("general.alignment")
    if alignment is None:
        return _DEFAULT_ALIGNMENT
    if not 0 < alignment <= _MAX_ALIGNMENT or alignment & (alignment - 1):
        raise cursor.error("an alignment that is a power of two", f"{alignment}")
    return alignment


def _with_shards(first: Path, count: int, total: TensorTable) -> TensorTable:
    """The tensors of all shards. Raises HeaderError for one that is missing or another's."""
    name = _FIRST_SHARD.fullmatch(first.name)
    if name is None or int(name["count"]) != count:
        raise HeaderError(first, f"a name that ends in -00001-of-{count:05}.gguf", first.name)
    for number in range(2, count + 1):
        path = first.with_name(f"{name['stem']}-{number:05}-of-{count:05}.gguf")
        if not path.exists():
            raise HeaderError(path, f"shard {number} of {count} beside the first", "no such file")
        head = _read_head(path, facts_only=False)
        if head.shard != (number, count):
            found_number, found_count = head.shard
            raise HeaderError(
                path, f"shard {number} of {count}", f"shard {found_number} of {found_count}"
            )
        assert head.tensors is not None
        total += head.tensors
    return total


def _make_header(head: _Head) -> GgufHeader:
    metadata = head.metadata
    text, number, numbers = metadata.text, metadata.number, metadata.numbers
    arch = metadata.require(text("general.architecture"), "general.architecture")
    heads = numbers(f"{arch}.attention.head_count") or 0
    embedding = number(f"{arch}.embedding_length") or 0
    head_size = embedding // max(_largest(heads), 1)
    kv_heads = numbers(f"{arch}.attention.head_count_kv")
    key_size = number(f"{arch}.attention.key_length")
    value_size = number(f"{arch}.attention.value_length")
    has_template = "tokenizer.chat_template" in metadata
    return GgufHeader(
        path=head.path,
        version=head.version,
        file_size=head.file_size,
        architecture=arch,
        name=text("general.name") or "",
        size_label=text("general.size_label") or "",
        license=text("general.license") or "",
        file_type=number("general.file_type"),
        context_length=number(f"{arch}.context_length") or 0,
        block_count=number(f"{arch}.block_count") or 0,
        embedding_length=embedding,
        feed_forward_length=_largest(numbers(f"{arch}.feed_forward_length") or 0),
        head_count=heads,
        head_count_kv=heads if kv_heads is None else kv_heads,
        key_length=head_size if key_size is None else key_size,
        value_length=head_size if value_size is None else value_size,
        expert_count=number(f"{arch}.expert_count") or 0,
        expert_used_count=number(f"{arch}.expert_used_count") or 0,
        sliding_window=_largest(numbers(f"{arch}.attention.sliding_window") or 0),
        vocab_size=metadata.length("tokenizer.ggml.tokens") or number(f"{arch}.vocab_size") or 0,
        tokenizer=text("tokenizer.ggml.model") or "",
        tokenizer_pre=text("tokenizer.ggml.pre") or "",
        has_chat_template=True if has_template else None if head.tensors is None else False,
        split_count=head.shard[1],
        tensors=head.tensors,
    )


def _largest(value: int | Sequence[int]) -> int:
    return value if isinstance(value, int) else max(value, default=0)
