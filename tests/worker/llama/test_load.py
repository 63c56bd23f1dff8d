"""Why a model cannot be brought up. What might end the process happens in a child."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pool_core.gguf import read_header
from pool_core.spawn.report import WorkerExit
from tests.worker.llama.conftest import model_path
from worker.engine.runner import RunnerError
from worker.llama import fit, load
from worker.llama.context import ContextOptions
from worker.llama.devices import select_devices
from worker.llama.errors import LoadError
from worker.llama.fit import check_fit
from worker.llama.options import LoadOptions, default_threads
from worker.llama.runner import LlamaRunner

GOOD = model_path("ref-llama")

CHILD = """
import json, sys
from pathlib import Path
from worker.llama.errors import LoadError
from worker.llama.options import LoadOptions
from worker.llama.runner import LlamaRunner
try:
    LlamaRunner.load(LoadOptions(Path(sys.argv[1])))
    print(json.dumps({"loaded": True}))
except LoadError as error:
    print(json.dumps({"exit": int(error.exit), "line": str(error), **error.details}))
"""


def load_in_child(path: Path) -> dict[str, Any]:
    """What a worker process makes of the file; {} when llama.cpp ended the process."""
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, timeout=60
    )
    outcome: dict[str, Any] = json.loads(child.stdout) if child.stdout else {}
    return outcome


def refusal(**options: Any) -> LoadError:
    with pytest.raises(LoadError) as caught:
        LlamaRunner.load(LoadOptions(**{"model_path": GOOD, **options}))
    assert "\n" not in str(caught.value)
    return caught.value


def html(data: bytes) -> bytes:
    return b"<!DOCTYPE html><title>404</title>" + data[:100]


def cut(data: bytes) -> bytes:
    return data[:-1000]


def unknown_architecture(data: bytes) -> bytes:
    length = (5).to_bytes(8, "little")
    return data.replace(length + b"llama", length + b"lemma", 1)


def missing_key(data: bytes) -> bytes:
    return data.replace(b"llama.embedding_length", b"llama.embedding_lengtx", 1)


def missing_tensor(data: bytes) -> bytes:
    return data.replace(b"blk.2.attn_norm.weight", b"blk.2.attn_norx.weight", 1)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (html, "a web page"),
        (cut, "cut short"),
        (unknown_architecture, "unknown model architecture: 'lemma'"),
        (missing_key, "llama.embedding_length"),
        (missing_tensor, "blk.2.attn_norm.weight"),
    ],
)
def test_a_bad_file_is_named_with_what_was_expected_and_found(
    tmp_path: Path, damage: Callable[[bytes], bytes], found: str
) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(damage(GOOD.read_bytes()))
    outcome = load_in_child(path)
    assert outcome["exit"] == WorkerExit.BAD_MODEL
    assert outcome["line"].startswith(f"{path}: expected ")
    assert outcome["expected"] and found in outcome["found"]
    assert "\n" not in outcome["line"]


def test_a_file_that_is_not_there_is_a_bad_model(tmp_path: Path) -> None:
    error = refusal(model_path=tmp_path / "none.gguf")
    assert error.exit is WorkerExit.BAD_MODEL
    assert "none.gguf" in str(error)


def test_a_backend_that_this_build_lacks_names_the_command_that_installs_it() -> None:
    for backend in ("cuda", "metal", "vulkan"):
        try:
            devices = select_devices(backend, (), None)
        except LoadError as error:
            assert error.exit is WorkerExit.BACKEND_MISSING
            assert error.remedy == f"llorch-pool backend install {backend}"
        else:
            assert devices, "a backend without a device was accepted"


def test_the_cpu_uses_no_other_device() -> None:
    assert select_devices("cpu", (), None) == []


def test_a_context_beyond_memory_says_needed_and_available() -> None:
    error = refusal(ctx=500_000_000)
    assert error.exit is WorkerExit.CONTEXT_TOO_LARGE
    assert error.details["needed"] > error.details["available"] > 0
    assert "--ctx" in str(error)


def test_weights_beyond_memory_are_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "available_memory", lambda: 1 << 20)
    error = refusal()
    assert error.exit is WorkerExit.OUT_OF_MEMORY
    assert error.details["available"] == 1 << 20
    assert 2_000_000 < error.details["needed"] < model_path("ref-llama").stat().st_size
    assert "the weights need 2 MiB, memory has 1 MiB free" in str(error)


def test_the_memory_of_a_control_group_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "_CGROUP", tmp_path)
    machine = fit.available_memory()
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("2500000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 400000\n")
    assert fit.available_memory() == 900_000
    (tmp_path / "memory.max").write_text("max\n")
    assert fit.available_memory() == pytest.approx(machine, rel=0.2)


@pytest.mark.parametrize(("kv_type", "share"), [("q8_0", 34 / 64), ("q4_0", 18 / 64)])
def test_a_smaller_kv_type_fits_into_less(
    monkeypatch: pytest.MonkeyPatch, kv_type: str, share: float
) -> None:
    whole = refusal(ctx=500_000_000).details
    weights = refusal_of_weights(monkeypatch)
    needed = refusal(ctx=500_000_000, kv_type=kv_type).details["needed"]
    assert (needed - weights) / (whole["needed"] - weights) == pytest.approx(share)


def refusal_of_weights(monkeypatch: pytest.MonkeyPatch) -> int:
    with monkeypatch.context() as patch:
        patch.setattr(fit, "available_memory", lambda: 1 << 20)
        return int(refusal().details["needed"])


def test_a_kv_type_that_does_not_fit_the_model_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Heads of 32 values cannot be cut into blocks of 256."""
    q4_k = 12
    monkeypatch.setitem(load.KV_TYPES, "q8_0", q4_k)
    error = refusal(kv_type="q8_0", ctx=512)
    assert error.exit is WorkerExit.FAILED
    assert "does not divide" in str(error)
    assert error.remedy == "choose --kv-type f16"


def test_a_model_that_does_not_compute_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RunnerError("llama_decode returned -3")

    monkeypatch.setattr(load, "learn_layout", fail)
    error = refusal(ctx=512)
    assert error.exit is WorkerExit.FAILED
    assert str(error) == "the model does not compute: llama_decode returned -3"


def test_what_fits_is_let_through() -> None:
    context = ContextOptions(4096, 4, 4, 260, 1, 1, on_device=False)
    check_fit(read_header(GOOD), context, "f16", [])


def test_small_models_compute_on_one_thread() -> None:
    assert default_threads(GOOD) == 1
    assert default_threads() >= 1
