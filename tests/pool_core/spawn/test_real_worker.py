"""The same life with the real worker and real llama.cpp on a reference model."""

from __future__ import annotations

import json
import os
import signal
import urllib.request

import pytest

from pool_core.spawn.errors import SpawnError
from pool_core.spawn.process import wait_gone
from pool_core.spawn.report import WorkerStatus
from pool_core.spawn.spawner import Spawner
from tests.fakes.pool import FakePool, finish


def generate(url: str) -> list[dict[str, object]]:
    body = {"job_id": "t", "prompt": "Write a haiku", "max_tokens": 8}
    request = urllib.request.Request(f"{url}/execute", json.dumps(body).encode())
    with urllib.request.urlopen(request) as answer:
        return [json.loads(line[6:]) for line in answer if line.startswith(b"data: ")]


@pytest.mark.parametrize("backend", ["cpu", "rpc"])
def test_a_real_worker_serves_is_killed_and_serves_again(pool: FakePool, backend: str) -> None:
    spawner = Spawner(pool.home)
    spec = pool.spec(backend=backend, ctx=1024, slots=2)
    events, first = finish(spawner.spawn(spec))
    assert first.report.layers_on_device == first.report.layers_total > 0
    assert generate(first.url)[-1]["type"] == "end"
    os.kill(first.file.process.pid, signal.SIGKILL)
    processes = [first.file.process, *(one.process for one in first.file.companions)]
    assert all(wait_gone(process, 10) for process in processes)
    assert spawner.get(first.id).status is WorkerStatus.FAILED
    _, second = finish(spawner.spawn(spec))
    assert generate(second.url)[-1]["type"] == "end"
    _, data = finish(spawner.stop_all())
    assert [row["was"] for row in data["workers"]] == ["failed", "ready"]
    assert not any(row["forced"] for row in data["workers"])


def test_a_real_worker_says_why_it_cannot_start(pool: FakePool) -> None:
    spawner = Spawner(pool.home)
    _, first = finish(spawner.spawn(pool.spec(ctx=1024)))
    with pytest.raises(SpawnError, match=f"{first.report.port}.*--port") as failure:
        finish(spawner.spawn(pool.spec(ctx=1024, port=first.report.port)))
    assert failure.value.details["exit_code"] == 14
    assert [record.id for record in spawner.list()] == [first.id]
