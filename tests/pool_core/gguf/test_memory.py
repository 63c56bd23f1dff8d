from __future__ import annotations

from pathlib import Path

import pytest

from pool_core.catalog import shipped_folder
from pool_core.errors import UsageError
from pool_core.gguf import GgufHeader, estimate_memory, read_header
from tests.rigs.gguf import LLAMA, make_model


def header_of(folder: Path, **facts: object) -> GgufHeader:
    path = folder / "m.gguf"
    path.write_bytes(make_model(bytes(1000), LLAMA | facts))
    return read_header(path)


def test_kv_is_cells_times_heads_times_both_sizes(tmp_path: Path) -> None:
    header = header_of(tmp_path)  # 2 layers of 2 heads, 16 + 16 values each
    estimate = estimate_memory(header, 1000, 4)
    assert estimate.cells == 1024
    assert estimate.kv == 1024 * 2 * 2 * (16 + 16) * 2
    assert estimate.weights == 1000
    assert estimate.total == 1000 + estimate.kv + estimate.compute


@pytest.mark.parametrize(("kv_type", "share"), [("q8_0", 34 / 64), ("q4_0", 18 / 64), ("f32", 2)])
def test_quantised_kv_is_smaller(tmp_path: Path, kv_type: str, share: float) -> None:
    header = header_of(tmp_path)
    plain = estimate_memory(header, 4096).kv
    assert estimate_memory(header, 4096, kv_type=kv_type).kv == plain * share


def test_windowed_layers_keep_only_their_window_when_told(tmp_path: Path) -> None:
    facts = {
        "general.architecture": "gpt-oss",
        "gpt-oss.block_count": 4,
        "gpt-oss.embedding_length": 64,
        "gpt-oss.attention.head_count": 4,
        "gpt-oss.attention.head_count_kv": 1,
        "gpt-oss.attention.sliding_window": 128,
    }
    header = header_of(tmp_path, **facts)
    full = estimate_memory(header, 8192, 2, batch=256)
    windowed = estimate_memory(header, 8192, 2, batch=256, swa_full=False)
    per_cell_and_layer = (16 + 16) * 2
    assert full.kv == 4 * 8192 * per_cell_and_layer
    assert windowed.kv == 2 * (8192 + 512) * per_cell_and_layer


def test_an_unknown_kv_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="q5_0"):
        estimate_memory(header_of(tmp_path), 512, kv_type="q5_0")


@pytest.mark.parametrize("name", ["ref-llama", "ref-qwen2", "ref-phi3", "ref-mistral"])
def test_reference_models_need_little(name: str) -> None:
    header = read_header(shipped_folder() / "reference" / f"{name}.gguf")
    estimate = estimate_memory(header, 16384, 16)
    heads, size = header.head_count_kv, header.key_length + header.value_length
    assert isinstance(heads, int)
    assert estimate.kv == 16384 * header.block_count * heads * size * 2
    assert estimate.total < 200 << 20
