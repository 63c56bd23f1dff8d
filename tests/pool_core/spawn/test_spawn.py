"""Starting workers: ready ones, and all the ways in which one does not become ready."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
import urllib.request
from pathlib import Path

import pytest

from pool_core import machine
from pool_core.errors import LlorchError
from pool_core.events import Progress, State
from pool_core.spawn.errors import DoesNotFit, SpawnError
from pool_core.spawn.identity import ProcessId
from pool_core.spawn.process import wait_gone
from pool_core.spawn.record import WorkerRecord
from pool_core.spawn.report import WorkerStatus
from tests.fakes.pool import FakePool, finish


def environ_of(pid: int) -> dict[str, str]:
    words = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(word.split("=", 1) for word in words if word)


def test_spawn_returns_a_ready_worker_that_answers(pool: FakePool) -> None:
    events, record = finish(pool.spawner().spawn(pool.spec()))
    assert record.status is WorkerStatus.READY
    assert Progress("loading ref-llama", 50, 100, "%") in events
    assert events[-1] == State(record.id, "ready", record.url)
    with urllib.request.urlopen(f"{record.url}/health") as answer:
        assert json.load(answer)["status"] == "ready"


def test_a_worker_stands_apart_from_whoever_started_it(pool: FakePool) -> None:
    record = pool.spawn()
    pid = record.file.process.pid
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
    assert os.readlink(f"/proc/{pid}/fd/1") == str(record.file.log)
    inherited = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    # The report pipe and the lease; neither our terminal nor our sockets.
    assert len([name for name in inherited if name.startswith("pipe:")]) == 2


def test_the_record_is_private_and_says_what_json_promises(pool: FakePool) -> None:
    record = pool.spawn(ctx=2048)
    path = pool.home.workers / f"{record.id}.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    data = record.to_dict()
    assert data["id"].startswith("ref-llama-cpu-")
    assert (data["model"], data["backend"], data["status"]) == ("ref-llama", "cpu", "ready")
    assert data["context_length"] == 2048
    assert data["rss_bytes"] > 1_000_000
    assert data["token"] is None


def test_a_token_travels_in_the_environment_and_other_secrets_stay_here(
    pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    record = pool.spawn(with_token=True)
    pid, token = record.file.process.pid, record.file.token
    assert token and token not in Path(f"/proc/{pid}/cmdline").read_text()
    assert environ_of(pid)["LLORCH_WORKER_TOKEN"] == token
    assert "HF_TOKEN" not in environ_of(pid)


def assert_nothing_is_left(pool: FakePool, error: LlorchError) -> None:
    assert pool.spawner().list() == []
    log = Path(error.details["log"])
    assert log.is_file()  # whoever wonders why still finds it
    command = str(log.stem).encode()
    left = [
        name
        for name in os.listdir("/proc")
        if name.isdigit() and command in _cmdline(Path("/proc", name))
    ]
    assert left == []


def _cmdline(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def test_a_worker_that_refuses_gives_its_own_reason(pool: FakePool) -> None:
    reason = "bad.gguf is not GGUF; download it again"
    with pytest.raises(SpawnError) as failure:
        pool.spawn("--fake-refuse", reason)
    assert failure.value.message == reason
    assert failure.value.details["exit_code"] == 10
    assert_nothing_is_left(pool, failure.value)


def test_a_worker_that_dies_without_a_word_is_quoted_from_its_log(pool: FakePool) -> None:
    with pytest.raises(SpawnError) as failure:
        pool.spawn("--fake-die", "7")
    assert "exited with code 7" in failure.value.message
    assert "fatal: the fake died" in failure.value.message
    assert_nothing_is_left(pool, failure.value)


def test_a_worker_killed_while_loading_names_the_signal(pool: FakePool) -> None:
    with pytest.raises(SpawnError, match="killed by SIGKILL .out of memory") as failure:
        pool.spawn("--fake-crash")
    assert_nothing_is_left(pool, failure.value)


@pytest.mark.parametrize("flag", ["--fake-hang", "--fake-mute"])
def test_a_worker_that_makes_no_progress_is_stopped(pool: FakePool, flag: str) -> None:
    with pytest.raises(SpawnError, match="no progress for") as failure:
        finish(pool.spawner(flag, stall_s=1.0).spawn(pool.spec()))
    assert_nothing_is_left(pool, failure.value)


def test_a_worker_that_takes_too_long_is_stopped(pool: FakePool) -> None:
    with pytest.raises(SpawnError, match="not ready after") as failure:
        finish(pool.spawner("--fake-hang", timeout_s=1.0).spawn(pool.spec()))
    assert_nothing_is_left(pool, failure.value)


@pytest.mark.parametrize("backend", ["cpu", "rpc"])
def test_breaking_off_a_spawn_stops_what_it_started(pool: FakePool, backend: str) -> None:
    work = pool.spawner("--fake-hang").spawn(pool.spec(backend=backend))
    for event in work:
        if isinstance(event, Progress) and event.done == 50:
            break
    (record,) = pool.spawner().list()
    processes = [record.file.process, *(one.process for one in record.file.companions)]
    work.close()
    assert all(wait_gone(process, 0) for process in processes)
    assert pool.spawner().list() == []


def test_a_taken_port_is_said(pool: FakePool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(SpawnError, match=f"port {port} is taken") as failure:
            pool.spawn(port=port)
    assert_nothing_is_left(pool, failure.value)


def test_a_model_that_does_not_fit_is_refused_before_anything_starts(
    pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "memory", lambda: machine.Memory(2_000_000, 1_000_000))
    with pytest.raises(DoesNotFit) as failure:
        pool.spawn(ctx=4096)
    assert failure.value.details["needed"] > failure.value.details["available"] == 1_000_000
    assert not pool.home.logs.exists()


def test_a_smaller_context_is_proposed_where_one_would_fit(
    pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "memory", lambda: machine.Memory(1 << 30, 200_000_000))
    with pytest.raises(DoesNotFit, match=r"--ctx \d+") as failure:
        pool.spawn(ctx=131072, slots=1)
    assert failure.value.remedy is not None
    fitting = int(failure.value.remedy.rpartition(" ")[2])
    assert pool.spawn(ctx=fitting, slots=1).status is WorkerStatus.READY


def test_the_rpc_server_comes_first_and_the_worker_is_told_where(pool: FakePool) -> None:
    record = pool.spawn(backend="rpc")
    (server,) = record.file.companions
    assert server.kind == "rpc-server" and server.process.is_alive()
    argv = Path(f"/proc/{record.file.process.pid}/cmdline").read_text().split("\0")
    assert argv[argv.index("--rpc") + 1] == f"127.0.0.1:{server.port}"


def test_servers_that_already_run_are_used_as_they_are(pool: FakePool) -> None:
    record = pool.spawn(backend="rpc", rpc=("127.0.0.1:50052",))
    assert record.file.companions == ()


def test_whatever_ends_a_worker_ends_its_rpc_server(pool: FakePool) -> None:
    record = pool.spawn(backend="rpc")
    (server,) = record.file.companions
    os.kill(record.file.process.pid, 9)
    assert wait_gone(server.process, 10)


def test_an_rpc_server_does_not_outlive_a_worker_that_refuses(pool: FakePool) -> None:
    with pytest.raises(SpawnError, match="will not") as failure:
        pool.spawn("--fake-refuse", "will not", backend="rpc")
    assert_nothing_is_left(pool, failure.value)


def test_two_spawns_at_once_do_not_meet(pool: FakePool) -> None:
    records: list[WorkerRecord] = []

    def spawn() -> None:
        records.append(pool.spawn())

    threads = [threading.Thread(target=spawn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({record.id for record in records}) == 4
    assert len({record.report.port for record in records}) == 4


def test_old_logs_go_and_those_of_running_workers_stay(pool: FakePool) -> None:
    running = pool.spawn()
    old = [pool.home.logs / f"old-cpu-{number:04x}.log" for number in range(60)]
    for age, log in enumerate(old):
        log.touch()
        os.utime(log, (1_000_000 - age, 1_000_000 - age))
    os.utime(running.file.log, (1, 1))
    pool.spawn()
    left = [log for log in old if log.exists()]
    assert left == old[: len(left)] and 40 < len(left) <= 50
    assert running.file.log.exists()


def test_identity_survives_reading_and_not_another_process(pool: FakePool) -> None:
    own = ProcessId.of(os.getpid())
    assert own is not None and own.is_alive()
    assert not ProcessId(own.pid, own.start + "1").is_alive()
    assert not ProcessId(own.pid, "").is_alive()
    assert ProcessId.of(0) is None
