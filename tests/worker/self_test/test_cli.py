"""`llorch-worker --self-test`, in this process, over the smallest reference model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pool_core.spawn.report import WorkerExit
from tests.fakes.hashing_runner import HashingRunner
from worker.__main__ import main
from worker.self_test import cli

MODEL = Path(__file__).resolve().parents[3] / "catalogs" / "reference" / "ref-llama.gguf"


def test_a_real_model_passes_also_from_disk(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--self-test", str(MODEL), "--json", "--threads", "1"]) == WorkerExit.OK
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {(line["name"], line["kind"]): line for line in lines if line["type"] == "check"}
    assert {line["verdict"] for line in found.values()} == {"passed"}
    for name in ("restored from disk", "restored from RAM"):
        assert found[name, "reproducible"]["restored_tokens"] == 768
        assert found[name, "reproducible"]["max_delta"] == 0.0
        assert found[name, "ordinary"]["restored_tokens"] > 500
    assert lines[-1]["type"] == "end" and lines[-1]["ok"]


def test_a_broken_one_is_told_in_a_table_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = HashingRunner(leak=2.0, lost_cells=2)
    monkeypatch.setattr(cli, "load_model", lambda settings, on_progress: runner)
    assert main(["--self-test", str(MODEL)]) == WorkerExit.SELF_TEST_FAILED
    out = capsys.readouterr().out
    head, *rows = out.splitlines()
    assert head.split() == ["CHECK", "KIND", "RESULT", *"REQUESTS TOKENS MAX DELTA REUSED".split()]
    assert rows[0].split()[:3] == ["alone", "reproducible", "passed"]
    assert any(row.startswith("restored from disk") and "FAILED" in row for row in rows)
    assert "\ntogether, ordinary: prompt 2 of 24 tokens: " in out
    assert rows[-1].startswith("FAILED: 12 checks in ")


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["--self-test"], 2, "--self-test"),
        (["--self-test", "m.gguf", "--tolerance", "x"], 2, "--tolerance"),
        (["--self-test", "m.gguf", "--kv-type", "f64"], 2, "f64"),
        (["--self-test", "/no/such.gguf"], 10, "/no/such.gguf"),
        (["--self-test", str(MODEL), "--ctx", "1", "--tolerance", "-1"], 2, "--tolerance"),
    ],
)
def test_what_cannot_be_tested_is_refused_in_one_line(
    argv: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == code
    line = capsys.readouterr().err
    assert line.startswith("llorch-worker: error: ") and line.count("\n") == 1 and words in line
