from __future__ import annotations

import os
from pathlib import Path

import pytest

from pool_core.errors import LlorchError, UsageError
from worker.__main__ import main
from worker.settings import TOKEN_VARIABLE, WorkerSettings, is_loopback, parse_settings

MODEL = ["--model", "/m/tiny.gguf"]


def test_defaults_are_one_cpu_model_on_loopback() -> None:
    assert parse_settings(MODEL, {}) == WorkerSettings(
        model_path=Path("/m/tiny.gguf"), model_id="tiny", backend="cpu"
    )


def test_every_option_arrives() -> None:
    read_end, write_end = os.pipe()
    argv = [
        *("--model-id", "big", "--backend", "rpc", "--rpc", "127.0.0.1:5", "--rpc", "[::1]:6"),
        *("--gpu", "1", "--host", "::1", "--port", "8001", "--ctx", "4096", "--slots", "4"),
        *("--threads", "2", "--kv-type", "q8_0", "--report-fd", str(write_end)),
        *("--state-file", "/s.json", "--worker-id", "w1"),
    ]
    try:
        settings = parse_settings(MODEL + argv, {TOKEN_VARIABLE: "t"})
        assert not os.get_inheritable(write_end) and not os.get_blocking(write_end)
    finally:
        os.close(read_end)
        os.close(write_end)
    assert settings == WorkerSettings(
        model_path=Path("/m/tiny.gguf"),
        model_id="big",
        backend="rpc",
        rpc=("127.0.0.1:5", "[::1]:6"),
        gpu=1,
        host="::1",
        port=8001,
        ctx=4096,
        slots=4,
        threads=2,
        kv_type="q8_0",
        report_fd=write_end,
        state_file=Path("/s.json"),
        worker_id="w1",
        token="t",
    )


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        ([], "--model"),
        ([*MODEL, "--frob"], "--frob"),
        ([*MODEL, "--mod", "x"], "--mod"),
        ([*MODEL, "--backend", "cudda"], "did you mean cuda"),
        ([*MODEL, "--port", "70000"], "65535"),
        ([*MODEL, "--port", "x"], "not a whole number"),
        ([*MODEL, "--ctx", "0"], "--ctx"),
        ([*MODEL, "--slots", "257"], "256"),
        ([*MODEL, "--kv-type", "f64"], "f64"),
        ([*MODEL, "--backend", "rpc"], "--rpc HOST:PORT"),
        ([*MODEL, "--rpc", "127.0.0.1:5"], "go together"),
        ([*MODEL, "--backend", "rpc", "--rpc", "5"], "not HOST:PORT"),
        ([*MODEL, "--report-fd", "999"], "--report-fd 999"),
        ([*MODEL, "--host", "0.0.0.0"], TOKEN_VARIABLE),
        ([*MODEL, "--host", "example.org"], TOKEN_VARIABLE),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(
    argv: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        parse_settings(argv, {})
    assert reason in str(caught.value)
    assert main(argv) == 2
    line = capsys.readouterr().err
    assert line.startswith("llorch-worker: error: ") and line.count("\n") == 1


def test_an_open_host_is_fine_with_a_token() -> None:
    assert parse_settings([*MODEL, "--host", "0.0.0.0"], {TOKEN_VARIABLE: "t"}).token == "t"
    with pytest.raises(LlorchError):
        parse_settings([*MODEL, "--host", "0.0.0.0"], {TOKEN_VARIABLE: ""})


def test_loopback_is_what_only_this_machine_reaches() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "myhost", "")))
