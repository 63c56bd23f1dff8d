from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pool_core.catalog import shipped_folder
from pool_core.errors import LlorchError
from pool_core.gguf import GgufHeader, HeaderError, read_header
from tests.rigs.gguf import LLAMA, Tensor, Typed, make_gguf, make_model

REFERENCE = shipped_folder() / "reference"


def read(folder: Path, data: bytes, **options: Any) -> GgufHeader:
    path = folder / "model.gguf"
    path.write_bytes(data)
    return read_header(path, **options)


@pytest.mark.parametrize("version", [2, 3])
def test_header_tells_what_the_file_says(tmp_path: Path, version: int) -> None:
    tensors = [Tensor("a", (64, 2), 1), Tensor("b", (256,), 12, offset=256)]
    header = read(tmp_path, make_gguf(LLAMA, tensors, bytes(256 + 144), version=version))
    assert header.version == version
    assert (header.architecture, header.name, header.quantization) == ("llama", "Tiny", "Q4_K_M")
    assert (header.context_length, header.block_count, header.vocab_size) == (2048, 2, 3)
    assert (header.head_count, header.head_count_kv, header.num_kv_heads) == (4, 2, 4)
    assert (header.key_length, header.value_length) == (16, 16)
    assert header.has_chat_template is True
    assert header.tensors is not None
    assert header.tensors.by_type == {"F16": 256, "Q4_K": 144}
    assert (header.tensors.parameters, header.weights_bytes) == (384, 400)


def test_heads_may_differ_from_layer_to_layer(tmp_path: Path) -> None:
    header = read(tmp_path, make_gguf(LLAMA | {"llama.attention.head_count_kv": [2, 1]}))
    assert header.head_count_kv == (2, 1)
    assert header.num_kv_heads == 3


def test_quantisation_falls_back_to_the_type_of_most_bytes(tmp_path: Path) -> None:
    facts = {key: value for key, value in LLAMA.items() if key != "general.file_type"}
    tensors = [Tensor("a", (8,), 0), Tensor("b", (256,), 8, offset=32)]
    assert read(tmp_path, make_gguf(facts, tensors, bytes(400))).quantization == "Q8_0"


def test_facts_only_stops_at_the_vocabulary(tmp_path: Path) -> None:
    whole = make_gguf(LLAMA, [Tensor("a", (8,))], bytes(8))
    cut = whole[: whole.index(b"tokenizer.ggml.tokens") + 40]
    header = read(tmp_path, cut, facts_only=True)
    assert (header.architecture, header.vocab_size, header.quantization) == ("llama", 3, "Q4_K_M")
    assert header.tensors is None
    assert header.has_chat_template is None
    with pytest.raises(HeaderError):
        read(tmp_path, cut)


def test_facts_only_goes_on_for_a_file_type_behind_the_vocabulary(tmp_path: Path) -> None:
    facts = {key: value for key, value in LLAMA.items() if key != "general.file_type"}
    header = read(tmp_path, make_gguf(facts | {"general.file_type": 7}), facts_only=True)
    assert header.quantization == "Q8_0"


def test_a_type_newer_than_ours_is_measured_by_the_length_of_the_file(tmp_path: Path) -> None:
    header = read(tmp_path, make_gguf(LLAMA, [Tensor("a", (64,), kind=99)], bytes(512)))
    assert header.weights_bytes == 512


@pytest.mark.parametrize(
    ("data", "expected", "found"),
    [
        (b"", "begins with", "an empty file"),
        (b"GG", "begins with", "bytes 47 47"),
        (b"version https://git-lfs.github.com/spec/v1\n", "begins with", "git-lfs pointer"),
        (b"<!DOCTYPE html><html>", "begins with", "a web page"),
        (b"PK\x03\x04" + bytes(40), "begins with", "ZIP"),
        (b"lmgg" + bytes(40), "begins with", "old GGML"),
        (b"GGUF", "24 bytes", "end of the file at 4"),
        (make_gguf(version=1), "version 2 or 3", "version 1"),
        (make_gguf(version=4), "version 2 or 3", "version 4"),
        (make_gguf(version=3 << 24), "version 2 or 3", "big-endian"),
        (make_gguf({}), "general.architecture", "none"),
        (make_gguf(LLAMA | {"llama.block_count": "two"}), "a whole number", "two"),
        (make_gguf(LLAMA | {"llama.block_count": 2.5}), "a whole number", "2.5"),
        (make_gguf(LLAMA | {"general.architecture": 5}), "a text", "5"),
        (make_gguf(LLAMA | {"general.alignment": 24}), "power of two", "24"),
        (make_gguf(LLAMA | {"x": [[1], [2]]}), "array of a known type", "type 9"),
        (make_gguf(LLAMA, [Tensor("a", (8,))]), "bytes", "cut short"),
        (make_gguf(LLAMA, [Tensor("", (8,))]), "tensor's name", "an empty one"),
        (make_gguf(LLAMA, [Tensor("a", (1, 1, 1, 1, 1))]), "4 dimensions", "5"),
        (make_gguf(LLAMA | {"": 1}), "a key", "an empty one"),
        (make_gguf(LLAMA)[:200], "at byte", "end of the file at 200"),
        (make_gguf(LLAMA | {"split.no": 1, "split.count": 3}), "first shard", "shard 2 of 3"),
    ],
)
def test_what_is_no_model_is_refused_with_expected_and_found(
    tmp_path: Path, data: bytes, expected: str, found: str
) -> None:
    with pytest.raises(HeaderError) as refused:
        read(tmp_path, data)
    assert expected in refused.value.expected
    assert found in refused.value.found
    assert str(tmp_path / "model.gguf") in str(refused.value)


@pytest.mark.parametrize(
    "claim",
    [
        struct.pack("<IQQ", 3, 1 << 60, 1),  # tensors
        struct.pack("<IQQ", 3, 1, 1 << 60),  # pairs
        struct.pack("<IQQQ", 3, 0, 1, 1 << 62),  # length of a key
        struct.pack("<IQQQ1sIQ", 3, 0, 1, 1, b"k", 8, 1 << 62),  # length of a text
        struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 8, 1 << 62),  # texts in an array
        struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 10, 1 << 62),  # numbers in an array
    ],
)
def test_absurd_lengths_are_refused_even_in_a_file_that_seems_to_hold_them(
    tmp_path: Path, claim: bytes
) -> None:
    path = tmp_path / "huge.gguf"
    with path.open("wb") as file:
        file.write(b"GGUF" + claim)
        file.truncate(1 << 40)  # sparse: a terabyte of zeros
    with pytest.raises(HeaderError):
        read_header(path)


def test_a_folder_or_a_missing_file_is_a_plain_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.gguf"):
        with pytest.raises(LlorchError, match=str(path)):
            read_header(path)


def test_shards_beside_the_first_are_counted_in(tmp_path: Path) -> None:
    write_shards(tmp_path)
    header = read_header(tmp_path / "m-00001-of-00003.gguf")
    assert header.tensors is not None
    assert (header.split_count, header.tensors.count, header.weights_bytes) == (
        3,
        3,
        100 + 200 + 300,
    )


def test_a_shard_that_is_missing_or_anothers_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path)
    third = tmp_path / "m-00003-of-00003.gguf"
    third.write_bytes((tmp_path / "m-00002-of-00003.gguf").read_bytes())
    with pytest.raises(HeaderError, match="expected shard 3 of 3, found shard 2 of 3"):
        read_header(tmp_path / "m-00001-of-00003.gguf")
    third.unlink()
    with pytest.raises(HeaderError, match="m-00003-of-00003.*no such file"):
        read_header(tmp_path / "m-00001-of-00003.gguf")


def write_shards(folder: Path) -> None:
    for number in range(3):
        facts: dict[str, Any] = {"split.no": Typed(4, number), "split.count": 3}
        data = make_model(bytes(100 * (number + 1)), facts | (LLAMA if number == 0 else {}))
        (folder / f"m-{number + 1:05}-of-00003.gguf").write_bytes(data)


@pytest.mark.parametrize("name", ["ref-llama", "ref-qwen2", "ref-phi3", "ref-mistral"])
def test_reference_models_are_read(name: str) -> None:
    header = read_header(REFERENCE / f"{name}.gguf")
    assert header.context_length == 131072
    assert header.vocab_size > 1000
    assert 0.9 < header.weights_bytes / header.file_size < 1
    facts = read_header(REFERENCE / f"{name}.gguf", facts_only=True)
    assert facts.block_count == header.block_count


SAMPLE = make_model(bytes(64), LLAMA | {"x.scores": [0.5, 1.5], "x.flag": True})


@settings(max_examples=300, deadline=None)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=6
    ),
    length=st.integers(0, len(SAMPLE)),
    facts_only=st.booleans(),
)
def test_damaged_bytes_are_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory,
    edits: list[tuple[int, int]],
    length: int,
    facts_only: bool,
) -> None:
    data = bytearray(SAMPLE)
    for at, value in edits:
        data[at] = value
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.write_bytes(data[:length] if length % 3 == 0 else data)
    try:
        header = read_header(path, facts_only=facts_only)
    except HeaderError:
        return
    header.to_dict()
