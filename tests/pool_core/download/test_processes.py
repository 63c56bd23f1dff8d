"""Downloads in processes of their own: killed, interrupted, two at once."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from pool_core.catalog import Catalog, Locked
from pool_core.download import download
from pool_core.home import Home
from tests.pool_core.download.kit import (
    CONTENT,
    REPO,
    SHA256,
    Run,
    child,
    leftovers,
    registered,
)
from tests.rigs.gguf import make_model
from tests.rigs.hub import Fault, FaultKind, Hub

MB = 1_000_000


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_download_continues(home: Home, hub: Hub, how: signal.Signals) -> None:
    registered(home)
    hub.add(Fault(FaultKind.SLOW, bps=2 * MB))
    with child(home, hub) as first:
        first.wait_for_bytes(MB)
        first.process.send_signal(how)
        assert first.process.wait(20) in (-how, 130)
    assert leftovers(home) == ["demo.gguf.part", "demo.gguf.part.json"]
    run = Run(home, hub, Catalog.load(home).get("demo"))
    result = run.finish()
    assert result["sha256"] == SHA256
    assert result["resumed_from"] >= MB
    assert result["resumed_from"] + result["bytes_fetched"] == len(CONTENT)
    assert Path(result["path"]).read_bytes() == CONTENT
    assert f"bytes={result['resumed_from']}-" in hub.ranges()


def test_a_second_download_is_told_who_has_the_first(home: Home, hub: Hub) -> None:
    registered(home)
    hub.add(Fault(FaultKind.SLOW, bps=2 * MB))
    with child(home, hub) as first:
        first.wait_for_bytes(MB // 10)
        with pytest.raises(Locked, match=f"already being downloaded by process {first.pid}"):
            Run(home, hub, Catalog.load(home).get("demo")).finish()
        last = list(first.events())[-1]
    assert last["ok"] is True and last["data"]["sha256"] == SHA256
    assert Run(home, hub, Catalog.load(home).get("demo")).finish()["bytes_fetched"] == 0


def test_a_lock_dies_with_its_process(home: Home, hub: Hub) -> None:
    registered(home)
    hub.add(Fault(FaultKind.SLOW, bps=MB))
    with child(home, hub) as first:
        first.wait_for_bytes(MB // 10)
        first.process.kill()
        first.process.wait()
        assert Run(home, hub, Catalog.load(home).get("demo")).finish()["sha256"] == SHA256


def test_closing_the_generator_keeps_the_part_and_frees_the_lock(home: Home, hub: Hub) -> None:
    hub.add(Fault(FaultKind.SLOW, bps=4 * MB))
    work = download(registered(home), home, endpoint=hub.url)
    for event in work:
        if event.t == "progress" and event.done > MB // 2:
            break
    work.close()
    assert "demo.gguf.part" in leftovers(home)
    assert Run(home, hub, Catalog.load(home).get("demo")).finish()["resumed_from"] > MB // 2


def test_memory_does_not_grow_with_the_file(home: Home, hub: Hub) -> None:
    hub.repos[REPO].files["demo.gguf"] = make_model(bytes(96 * MB))
    registered(home)
    with child(home, hub) as only:
        last = list(only.events())[-1]
    assert last["data"]["size"] > 96 * MB
    assert last["data"]["grown_kib"] < 16 * 1024
