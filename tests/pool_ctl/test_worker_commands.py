"""`llorch-pool worker …` as scripts see it, and as a person does."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pool_core.spawn.process import wait_gone
from tests.fakes.pool import FakePool
from tests.pool_ctl.conftest import Ask, schema

Start = Callable[..., subprocess.Popen[str]]


def test_spawn_answers_what_a_script_needs(ask: Ask) -> None:
    data = ask("worker", "spawn", "cpu", "--model", "ref-llama").data
    assert {"id", "url", "pid", "backend", "model", "token"} <= data.keys()
    assert data["url"].startswith("http://127.0.0.1:") and data["status"] == "ready"


def test_a_worker_outlives_the_command_and_its_pipes_close(start: Start, ask: Ask) -> None:
    command = start("worker", "spawn", "cpu", "--model", "ref-llama")
    out, err = command.communicate(timeout=60)  # would hang if the worker held the pipes
    assert command.returncode == 0, err
    (row,) = ask("worker", "list").data["workers"]
    assert row["status"] == "ready" and row["id"] in out


def test_options_reach_the_worker(ask: Ask) -> None:
    options = ["--ctx", "2048", "--slots", "3", "--threads", "2", "--kv-type", "q8_0", "--gpu", "1"]
    options += ["--kv-layout", "split"]
    data = ask("worker", "spawn", "cpu", "-m", "ref-llama", *options, "--token").data
    argv = Path(f"/proc/{data['pid']}/cmdline").read_text().split("\0")
    given = dict(zip(argv, argv[1:], strict=False))
    assert given["--ctx"] == "2048" and given["--slots"] == "3" and given["--threads"] == "2"
    assert given["--kv-type"] == "q8_0" and given["--gpu"] == "1"
    assert given["--kv-layout"] == "split"
    assert len(data["token"]) >= 32


def argv_of(ask: Ask, *options: str) -> list[str]:
    """The command line of a worker that was spawned so."""
    data = ask("worker", "spawn", "cpu", "-m", "ref-llama", *options).data
    return Path(f"/proc/{data['pid']}/cmdline").read_text().split("\0")


def test_agents_are_kept_in_the_home_unless_told_otherwise(ask: Ask, pool: FakePool) -> None:
    argv = argv_of(ask)
    given = dict(zip(argv, argv[1:], strict=False))
    assert given["--agents"] == str(pool.home.agents)
    assert len(given["--model-sha256"]) == 64
    assert not {"--ram-cache", "--disk-cache", "--no-draft"} & set(argv)
    assert not {"--agents", "--model-sha256"} & set(argv_of(ask, "--no-agents"))


def test_cache_sizes_come_from_the_command_line_before_the_configuration(
    ask: Ask, pool: FakePool
) -> None:
    pool.home.config_file.write_text('[worker]\nram_cache = "1G"\ndisk_cache = "5G"\n')
    argv = argv_of(ask, "--ram-cache", "512M", "--no-draft")
    given = dict(zip(argv, argv[1:], strict=False))
    assert (given["--ram-cache"], given["--disk-cache"]) == ("512M", "5G")
    assert "--no-draft" in argv


def test_defaults_come_from_the_configuration(ask: Ask, pool: FakePool) -> None:
    pool.home.config_file.write_text("[worker]\nctx = 1024\nslots = 2\n")
    assert ask("worker", "spawn", "cpu", "-m", "ref-llama").data["context_length"] == 1024


def test_list_show_and_logs_agree(ask: Ask) -> None:
    worker = ask("worker", "spawn", "cpu", "-m", "ref-llama").data["id"]
    (row,) = ask("worker", "list").data["workers"]
    shown = ask("worker", "show", worker).data
    volatile = {"rss_bytes"}
    assert {k: v for k, v in row.items() if k not in volatile} == {
        k: v for k, v in shown.items() if k not in volatile
    }
    logs = ask("worker", "logs", worker).data
    assert logs["lines"][0].startswith(f"fake worker {worker}") and logs["log"] == shown["log"]


@pytest.mark.parametrize("backend", ["cpu", "rpc"])
def test_records_are_what_their_schema_says(ask: Ask, pool: FakePool, backend: str) -> None:
    pool.use_as_runtime(backend=backend)
    record = schema("worker-record")
    data = ask("worker", "spawn", backend, "-m", "ref-llama", "--token").data
    record.validate(data)
    os.kill(data["pid"], signal.SIGKILL)
    assert wait_gone(pool.spawner().get(data["id"]).file.process, 10)
    (row,) = ask("worker", "list").data["workers"]
    record.validate(row)
    assert bool(row["companions"]) is (backend == "rpc")


def test_stop_and_stop_all_say_what_they_stopped(ask: Ask) -> None:
    first, second = (ask("worker", "spawn", "cpu", "-m", "ref-llama").data["id"] for _ in "ab")
    assert ask("worker", "stop", first).data["id"] == first
    assert [row["id"] for row in ask("worker", "stop-all").data["workers"]] == [second]
    assert ask("worker", "list").data == {"workers": []}


def test_a_killed_worker_is_told_and_spawn_works_again(ask: Ask, pool: FakePool) -> None:
    data = ask("worker", "spawn", "cpu", "-m", "ref-llama").data
    os.kill(data["pid"], signal.SIGKILL)
    assert wait_gone(pool.spawner().get(data["id"]).file.process, 10)
    (row,) = ask("worker", "list").data["workers"]
    assert row["status"] == "failed" and row["reason"].startswith("process is gone")
    assert ask("worker", "spawn", "cpu", "-m", "ref-llama").data["status"] == "ready"


def test_a_failed_spawn_is_one_error_with_the_workers_reason(ask: Ask, pool: FakePool) -> None:
    pool.use_as_runtime("--fake-refuse", "the layers are not on the GPU; check the driver")
    answer = ask("worker", "spawn", "cpu", "-m", "ref-llama")
    assert answer.code == 1
    assert answer.error["msg"] == "the layers are not on the GPU; check the driver"
    assert ask("worker", "list").data == {"workers": []}


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (("worker", "spawn", "cpu", "-m", "ref-lama"), 2, ["unknown model", "ref-llama"]),
        (("worker", "spawn", "cuba", "-m", "ref-llama"), 2, ["unknown backend", "cuda"]),
        (("worker", "show", "nobody"), 2, ["unknown worker", "llorch-pool worker list"]),
        (("worker", "stop", "../../etc/passwd"), 2, ["unknown worker"]),
        (("worker", "logs", "../../etc/passwd"), 2, ["unknown worker"]),
        (("worker", "spawn", "cpu"), 2, ["--model", "llorch-pool worker spawn --help"]),
        (("worker", "spwan"), 2, ["Did you mean 'spawn'"]),
        (("worker", "list", "--what"), 2, ["--what"]),
        (("worker",), 2, ["llorch-pool worker --help"]),
        (("worker", "spawn", "cpu", "-m", "tinyllama"), 1, ["models download tinyllama"]),
        (("worker", "spawn", "cpu", "-m", "ref-llama", "--kv-type", "f7"), 2, ["f7", "q8_0"]),
        (("worker", "spawn", "cpu", "-m", "ref-llama", "--kv-layout", "x"), 2, ["x", "unified"]),
        (
            ("worker", "spawn", "cpu", "-m", "ref-llama", "--ram-cache", "x"),
            2,
            ["--ram-cache", "2G"],
        ),
        (("worker", "spawn", "cpu", "-m", "ref-llama", "--bind", "0.0.0.0"), 2, ["--token"]),
        (("worker", "spawn", "cpu", "-m", "ref-llama", "--port", "99999"), 2, ["--port", "65535"]),
    ],
)
def test_bad_input_gets_one_line_and_a_way_out(
    ask: Ask, argv: tuple[str, ...], code: int, words: list[str]
) -> None:
    answer = ask(*argv)
    assert answer.code == code
    said = f"{answer.error['msg']}; {answer.error['remedy']}"
    assert all(word in said for word in words), said


def test_a_backend_this_machine_lacks_is_refused(ask: Ask) -> None:
    answer = ask("worker", "spawn", "metal", "-m", "ref-llama")
    assert answer.code == 1 and answer.error["code"] == "E_BACKEND"
    assert "only on macOS" in answer.error["msg"]


def test_a_check_says_how_far_it_is_and_what_it_found(ask: Ask) -> None:
    worker = ask("worker", "spawn", "cpu", "-m", "ref-llama").data["id"]
    answer = ask("worker", "check", worker)
    assert [line["done"] for line in answer.lines if line["t"] == "progress"] == [1, 2]
    assert [line["state"] for line in answer.lines if line["t"] == "state"] == ["passed", "passed"]
    assert answer.data["ok"] and answer.data["id"] == worker
    assert [check["name"] for check in answer.data["checks"]] == ["alone", "together"]


def test_a_check_that_finds_a_difference_has_an_exit_code_of_its_own(
    ask: Ask, pool: FakePool, start: Start
) -> None:
    pool.use_as_runtime("--fake-differ")
    worker = ask("worker", "spawn", "cpu", "-m", "ref-llama").data["id"]
    answer = ask("worker", "check", worker)
    assert answer.code == 6
    assert answer.lines[-1]["t"] == "result" and not answer.lines[-1]["ok"]
    command = start("worker", "check", worker)
    out, _ = command.communicate(timeout=60)
    assert command.returncode == 6
    assert "together, ordinary: prompt 2 of 24 tokens: token 3" in out
    assert "1 of 2 checks failed" in out


def test_a_check_that_breaks_off_is_an_error(ask: Ask, pool: FakePool) -> None:
    pool.use_as_runtime("--fake-no-end")
    worker = ask("worker", "spawn", "cpu", "-m", "ref-llama").data["id"]
    answer = ask("worker", "check", worker)
    assert answer.code == 1 and answer.error["code"] == "E_CHECK"
    assert f"llorch-pool worker logs {worker}" in answer.error["remedy"]


def test_only_a_ready_worker_can_be_checked(ask: Ask, pool: FakePool) -> None:
    data = ask("worker", "spawn", "cpu", "-m", "ref-llama").data
    os.kill(data["pid"], signal.SIGKILL)
    assert wait_gone(pool.spawner().get(data["id"]).file.process, 10)
    answer = ask("worker", "check", data["id"])
    assert answer.code == 2 and "is failed" in answer.error["msg"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupting_a_spawn_stops_the_worker(
    pool: FakePool, start: Start, ask: Ask, number: signal.Signals
) -> None:
    pool.use_as_runtime("--fake-hang")
    command = half_loaded(start)
    (record,) = pool.spawner().list()
    command.send_signal(number)
    out, err = command.communicate(timeout=30)
    assert command.returncode == 130
    assert '"E_CANCELLED"' in out and "Traceback" not in err
    assert wait_gone(record.file.process, 0)
    assert ask("worker", "list").data == {"workers": []}


def half_loaded(start: Start, backend: str = "cpu") -> subprocess.Popen[str]:
    """A spawn whose worker has loaded half of its model."""
    command = start("worker", "spawn", backend, "--model", "ref-llama", "--json")
    assert command.stdout is not None
    while '"done":50' not in command.stdout.readline():
        pass
    return command


def test_an_impatient_second_ctrl_c_leaves_no_orphan(pool: FakePool, start: Start) -> None:
    pool.use_as_runtime("--fake-hang", "--fake-ignore-sigterm")
    command = half_loaded(start)
    (record,) = pool.spawner().list()
    command.send_signal(signal.SIGINT)
    assert not wait_gone(record.file.process, 0.5)  # it ignores the first, polite word
    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=30)
    assert command.returncode == 130 and "Traceback" not in err
    assert wait_gone(record.file.process, 0)
    assert pool.spawner().list() == []


def test_a_worker_whose_spawn_was_killed_is_still_known(
    pool: FakePool, start: Start, ask: Ask
) -> None:
    pool.use_as_runtime("--fake-hang", backend="rpc")
    command = half_loaded(start, "rpc")
    command.kill()
    command.wait()
    (row,) = ask("worker", "list").data["workers"]
    assert row["status"] == "starting" and row["progress"] == 0.5
    record = pool.spawner().get(row["id"])
    ask("worker", "stop", row["id"])
    assert wait_gone(record.file.process, 0)
    assert wait_gone(record.file.companions[0].process, 0)


def test_logs_are_followed_until_the_worker_ends(start: Start, ask: Ask) -> None:
    worker = ask("worker", "spawn", "cpu", "-m", "ref-llama").data["id"]
    command = start("worker", "logs", "-f", worker)
    assert command.stdout is not None
    assert command.stdout.readline().startswith("fake worker")
    ask("worker", "stop", worker)
    assert command.wait(timeout=30) == 0


def test_leaving_followed_logs_by_ctrl_c_is_130_without_a_trace(start: Start, ask: Ask) -> None:
    worker = ask("worker", "spawn", "cpu", "-m", "ref-llama").data["id"]
    command = start("worker", "logs", "-f", worker)
    assert command.stdout is not None
    command.stdout.readline()
    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=30)
    assert command.returncode == 130 and "Traceback" not in err


def test_a_reader_that_goes_away_ends_the_command_quietly(start: Start) -> None:
    command = start("models", "catalog")
    assert command.stdout is not None and command.stderr is not None
    command.stdout.close()
    assert "Traceback" not in command.stderr.read()
