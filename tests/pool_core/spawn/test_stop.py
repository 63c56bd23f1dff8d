"""Telling the truth about workers, and ending them."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pool_core.errors import UnknownName, UsageError
from pool_core.events import Log, State
from pool_core.spawn.errors import DamagedRecord, StopUnverified
from pool_core.spawn.identity import ProcessId
from pool_core.spawn.process import end, send_signal, wait_gone
from pool_core.spawn.report import WorkerStatus
from pool_core.spawn.verify import port_is_free
from tests.fakes.pool import FakePool, finish


def test_stop_leaves_nothing_but_the_log(pool: FakePool) -> None:
    record = pool.spawn(backend="rpc")
    events, data = finish(pool.spawner().stop(record.id))
    assert not record.file.process.is_alive()
    assert not record.file.companions[0].process.is_alive()
    assert port_is_free("127.0.0.1", record.report.port)
    assert list(pool.home.workers.iterdir()) == []
    assert record.file.log.is_file()
    assert data["forced"] is False and data["was"] == "ready"
    assert [event.state for event in events if isinstance(event, State)] == ["draining", "stopped"]


def test_a_worker_that_ignores_sigterm_is_killed_after_the_grace(pool: FakePool) -> None:
    record = pool.spawn("--fake-ignore-sigterm")
    events, data = finish(pool.spawner().stop(record.id, grace_s=0.2))
    assert data["forced"] is True
    assert not record.file.process.is_alive()
    assert "killed" in [event.state for event in events if isinstance(event, State)]


def test_stop_all_waits_for_all_at_once(pool: FakePool) -> None:
    records = [pool.spawn("--fake-ignore-sigterm") for _ in range(3)]
    started = time.monotonic()
    _, data = finish(pool.spawner().stop_all(grace_s=1.0))
    assert time.monotonic() - started < 2.5  # one after the other would take three seconds
    assert {row["id"] for row in data["workers"]} == {record.id for record in records}
    assert pool.spawner().list() == []


def test_a_killed_worker_is_listed_as_failed_with_its_last_words(pool: FakePool) -> None:
    record = pool.spawn()
    os.kill(record.file.process.pid, signal.SIGKILL)
    assert wait_gone(record.file.process, 10)
    (seen,) = pool.spawner().list()
    assert seen.status is WorkerStatus.FAILED and not seen.is_alive
    assert seen.reason.startswith("process is gone (killed or crashed); last log line: fake worker")
    assert seen.rss_bytes == 0
    assert pool.spawn().status is WorkerStatus.READY
    _, data = finish(pool.spawner().stop(record.id))
    assert data["was"] == "failed"
    assert record.id not in [one.id for one in pool.spawner().list()]


def test_a_worker_that_was_told_to_end_by_hand_is_stopped_not_failed(pool: FakePool) -> None:
    record = pool.spawn()
    os.kill(record.file.process.pid, signal.SIGTERM)
    assert wait_gone(record.file.process, 10)
    assert pool.spawner().get(record.id).status is WorkerStatus.STOPPED


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = ProcessId.of(child.pid)
    assert identity is not None and identity.is_alive()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not collected yet
    assert not identity.is_alive()
    assert ProcessId.of(child.pid) is None
    assert send_signal(identity, signal.SIGTERM) is False
    assert end(identity, grace_s=0)
    child.communicate()


def test_a_recycled_pid_is_never_signalled(pool: FakePool) -> None:
    record = pool.spawn()
    finish(pool.spawner().stop(record.id))
    innocent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    impostor = dataclasses.replace(record.file.process, pid=innocent.pid)
    pool.spawner().registry.save(dataclasses.replace(record.file, process=impostor))
    assert pool.spawner().get(record.id).status is WorkerStatus.FAILED
    finish(pool.spawner().stop(record.id, grace_s=0))
    assert innocent.poll() is None
    innocent.communicate(b"\n")
    assert innocent.returncode == 0


def test_a_port_that_stays_taken_is_not_a_verified_stop(pool: FakePool) -> None:
    record = pool.spawn()
    state = pool.spawner().registry.state_file(record.id)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        state.write_text(dataclasses.replace(record.report, port=port).to_json())
        spawner = pool.spawner()
        work = spawner.stop(record.id)
        next(work)  # it has been told to stop; its last report names the right port again
        assert wait_gone(record.file.process, 10)
        with pytest.raises(StopUnverified, match=f"port {port} is still in use"):
            finish(work)
    finish(pool.spawner().stop(record.id))


def test_unknown_workers_are_refused_with_the_nearest(pool: FakePool) -> None:
    record = pool.spawn()
    with pytest.raises(UnknownName, match=record.id):
        pool.spawner().get(record.id[:-1] + "x")
    with pytest.raises(UnknownName):
        pool.spawner().get("../config")


def test_a_damaged_record_is_named_and_hides_no_other(pool: FakePool) -> None:
    record = pool.spawn()
    damaged = pool.home.workers / "half-cpu-0000.json"
    damaged.write_text('{"id": "half')
    assert [one.id for one in pool.spawner().list()] == [record.id]
    with pytest.raises(DamagedRecord, match=str(damaged)):
        pool.spawner().get("half-cpu-0000")


def test_a_model_that_is_served_may_not_be_removed(pool: FakePool) -> None:
    record = pool.spawn()
    with pytest.raises(UsageError, match=record.id):
        pool.spawner().refuse_if_serving("ref-llama")
    pool.spawner().refuse_if_serving("ref-qwen2")


def test_following_a_log_ends_with_the_worker(pool: FakePool) -> None:
    record = pool.spawn()
    lines = pool.spawner().follow_log(record.id, lines=5)
    first = next(lines)
    assert isinstance(first, Log) and first.source == record.id
    assert first.msg.startswith("fake worker")
    with record.file.log.open("a") as log:
        log.write("one more\nand half of anoth")
    assert next(lines).msg == "one more"
    finish(pool.spawner().stop(record.id))
    assert [event.msg for event in lines] == ["and half of anoth"]


def test_logs_of_workers_that_are_gone_can_still_be_read(pool: FakePool) -> None:
    record = pool.spawn()
    finish(pool.spawner().stop(record.id))
    (line,) = pool.spawner().log_tail(record.id, 10)
    assert line.startswith("fake worker")
    assert pool.spawner().log_tail(record.id, 0) == []


def test_tail_reads_only_the_end(tmp_path: Path) -> None:
    from pool_core.spawn.logs import tail

    log = tmp_path / "a.log"
    log.write_text("".join(f"line {number} {'x' * 100}\n" for number in range(10_000)) + "last")
    assert [line.split()[0:2] for line in tail(log, 2)] == [["line", "9999"], ["last"]]
    assert tail(tmp_path / "none.log", 5) == []
