from __future__ import annotations

import os
from pathlib import Path

import pytest

from pool_core import machine
from pool_core.errors import LlorchError, UsageError
from worker.__main__ import main
from worker.settings import (
    TOKEN_VARIABLE,
    WorkerSettings,
    default_ram_cache,
    is_loopback,
    parse_settings,
)

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
        *("--kv-layout", "split"),
        *("--state-file", "/s.json", "--worker-id", "w1"),
        *("--agents", "/a", "--ram-cache", "512M", "--disk-cache", "1.5GiB"),
        *("--model-sha256", "AB" * 32, "--no-draft", "--step-timeout", "2.5"),
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
        kv_layout="split",
        agents=Path("/a"),
        ram_cache=512 << 20,
        disk_cache=3 << 29,
        model_sha256="ab" * 32,
        drafts=False,
        step_timeout_s=2.5,
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
        ([*MODEL, "--kv-layout", "both"], "unified"),
        ([*MODEL, "--ram-cache", "much"], '"much" is not a size'),
        ([*MODEL, "--disk-cache", "-1G"], "--disk-cache"),
        ([*MODEL, "--model-sha256", "abc"], "64 hexadecimal"),
        ([*MODEL, "--step-timeout", "inf"], "--step-timeout"),
        ([*MODEL, "--step-timeout", "0"], "--step-timeout"),
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


def test_the_ram_cache_leaves_most_of_the_memory_alone() -> None:
    assert 0 < default_ram_cache() <= min(2 << 30, machine.memory().total // 8)


def test_an_open_host_is_fine_with_a_token() -> None:
    assert parse_settings([*MODEL, "--host", "0.0.0.0"], {TOKEN_VARIABLE: "t"}).token == "t"
    with pytest.raises(LlorchError):
        parse_settings([*MODEL, "--host", "0.0.0.0"], {TOKEN_VARIABLE: ""})


def test_loopback_is_what_only_this_machine_reaches() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "myhost", "")))
