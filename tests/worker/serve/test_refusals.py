"""Why a worker does not come up: `serve` in this process, so that each case costs little."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pool_core.spawn.report import WorkerExit, WorkerReport, WorkerStatus
from tests.rigs.worker import MODELS
from worker import serve
from worker.settings import WorkerSettings


@pytest.fixture(autouse=True)
def own_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave pytest's own log handlers alone."""
    monkeypatch.setattr(serve, "configure_logging", lambda: None)


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    yield port


def refusal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, **settings: Any
) -> tuple[WorkerExit, str]:
    """Exit code and reason, which the log and the state file agree on."""
    state = tmp_path / "state.json"
    model = {"model_path": MODELS / "ref-llama.gguf", "model_id": "m", "backend": "cpu"}
    code = serve.serve(WorkerSettings(**{**model, "state_file": state, **settings}))
    report = WorkerReport.from_json(state.read_text())
    assert (report.status, report.exit_code) == (WorkerStatus.FAILED, code)
    errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert errors == [report.reason]
    assert "\n" not in report.reason
    return code, report.reason


def test_model_file_that_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "gone.gguf"
    code, reason = refusal(tmp_path, caplog, model_path=path)
    assert code == WorkerExit.BAD_MODEL
    assert str(path) in reason


def test_file_that_is_not_gguf(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "not.gguf"
    path.write_bytes(b"PK\x03\x04" + b"x" * 1000)
    code, reason = refusal(tmp_path, caplog, model_path=path)
    assert code == WorkerExit.BAD_MODEL
    assert "not.gguf" in reason and "GGUF" in reason and "ZIP" in reason


def test_backend_that_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    code, reason = refusal(tmp_path, caplog, backend="cuda")
    assert code == WorkerExit.BACKEND_MISSING
    assert "llorch-pool backend install cuda" in reason


def test_rpc_server_that_does_not_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, closed_port: int
) -> None:
    endpoint = f"127.0.0.1:{closed_port}"
    code, reason = refusal(tmp_path, caplog, backend="rpc", rpc=(endpoint,))
    assert code == WorkerExit.BACKEND_MISSING
    assert endpoint in reason


def test_context_that_does_not_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    code, reason = refusal(tmp_path, caplog, ctx=1 << 40)
    assert code == WorkerExit.CONTEXT_TOO_LARGE
    assert "--ctx" in reason


def test_address_of_another_machine(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    code, reason = refusal(tmp_path, caplog, host="203.0.113.7", token="t")
    assert code == WorkerExit.USAGE
    assert "203.0.113.7" in reason


def test_a_bug_while_loading_is_one_line_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: serve.Worker, on_progress: object) -> None:
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr(serve.Worker, "load", load)
    monkeypatch.setattr(serve.log, "exception", lambda text: None)
    code, reason = refusal(tmp_path, caplog)
    assert (code, reason) == (WorkerExit.FAILED, "RuntimeError: first second")
