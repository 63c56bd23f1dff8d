"""Every way a hub can fail, against the real client: what can be waited out is."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from pool_core.catalog import Catalog, ChecksumMismatch
from pool_core.download import HubUnreachable, Interrupted
from pool_core.events import State, Warning
from pool_core.home import Home
from tests.pool_core.download.kit import (
    CONTENT,
    HASTY,
    REPO,
    SHA256,
    Run,
    leftovers,
    registered,
)
from tests.rigs.hub import Fault, FaultKind, Hub

MB = 1_000_000


@pytest.mark.parametrize(
    ("faults", "most_sent"),
    [
        ([Fault(FaultKind.DROP, after=MB)], 1.0),
        ([Fault(FaultKind.DROP, after=200_000, times=12)], 1.0),
        ([Fault(FaultKind.DROP, after=0, times=4)], 1.0),
        ([Fault(FaultKind.RESET, after=MB, times=2)], 1.7),
        ([Fault(FaultKind.STALL, after=MB)], 1.0),
        ([Fault(FaultKind.TRUNCATE, after=MB)], 1.0),
        ([Fault(FaultKind.SLOW, bps=20 * MB)], 1.0),
        ([Fault(FaultKind.STATUS, code=500, times=3)], 1.0),
        ([Fault(FaultKind.STATUS, code=403)], 1.0),
        ([Fault(FaultKind.STATUS, code=429, headers={"Retry-After": "0"})], 1.0),
        ([Fault(FaultKind.STATUS, code=429, headers={"ratelimit": '"api";r=0;t=0'})], 1.0),
        ([Fault(FaultKind.REFUSE, times=2)], 1.0),
        ([Fault(FaultKind.STATUS, code=503, method="HEAD", where="hub", times=2)], 1.0),
        ([Fault(FaultKind.REFUSE, method="HEAD", where="hub", times=2)], 1.0),
        ([Fault(FaultKind.STATUS, code=502, where="hub", path="resolve", times=2)], 1.0),
        ([Fault(FaultKind.DROP, after=MB), Fault(FaultKind.IGNORE_RANGE)], 1.4),
    ],
    ids=lambda value: "+".join(f.kind for f in value) if isinstance(value, list) else "",
)
def test_what_may_pass_is_waited_out(
    home: Home, hub: Hub, faults: list[Fault], most_sent: float
) -> None:
    hub.add(*(replace(fault) for fault in faults))
    run = Run(home, hub)
    result = run.finish()
    assert result["sha256"] == SHA256
    assert Path(result["path"]).read_bytes() == CONTENT
    assert leftovers(home) == []
    assert hub.bytes_sent() <= most_sent * len(CONTENT)


def test_waiting_is_said(home: Home, hub: Hub) -> None:
    hub.add(Fault(FaultKind.STATUS, code=503))
    run = Run(home, hub)
    run.finish()
    waits = [event for event in run.of_type(State) if event.state == "waiting"]
    assert [event.detail for event in waits] == ["the hub answered 503; again in 0.0 s"]


def test_a_server_that_cannot_resume_is_told_of(home: Home, hub: Hub) -> None:
    hub.add(Fault(FaultKind.DROP, after=MB), Fault(FaultKind.IGNORE_RANGE))
    run = Run(home, hub)
    run.finish()
    assert [event.code for event in run.of_type(Warning)] == ["range"]


def test_every_attempt_asks_for_a_fresh_address_and_only_the_rest(home: Home, hub: Hub) -> None:
    hub.add(Fault(FaultKind.DROP, after=MB))
    Run(home, hub).finish()
    resolves = [seen for seen in hub.exchanges if seen.where == "hub" and seen.method == "GET"]
    assert len(resolves) == 2
    first, second = hub.ranges()
    assert first is None
    assert second == f"bytes={MB}-"


def test_the_token_never_leaves_the_hub(home: Home, hub: Hub) -> None:
    Run(home, hub, token="hf_good").finish()
    seen = {seen.where: seen.authorization for seen in hub.exchanges}
    assert seen == {"hub": "Bearer hf_good", "cdn": None}


def test_damage_on_the_way_is_found_and_nothing_of_it_kept(home: Home, hub: Hub) -> None:
    hub.add(Fault(FaultKind.CORRUPT, after=2 * MB))
    with pytest.raises(ChecksumMismatch, match="wrong sha256.*run it again"):
        Run(home, hub).finish()
    assert leftovers(home) == []
    assert list(home.models.rglob("demo.gguf")) == []
    assert Run(home, hub, Catalog.load(home).get("demo")).finish()["sha256"] == SHA256


def test_a_transfer_that_breaks_off_for_good_is_continued_by_the_next(home: Home, hub: Hub) -> None:
    hub.add(Fault(FaultKind.DROP, after=MB), Fault(FaultKind.DROP, after=0, times=-1))
    with pytest.raises(Interrupted, match=f"{MB} of {len(CONTENT)} bytes.*run it again"):
        Run(home, hub).finish()
    assert leftovers(home) == ["demo.gguf.part", "demo.gguf.part.json"]
    hub.clear()
    run = Run(home, hub, Catalog.load(home).get("demo"))
    result = run.finish()
    assert (result["resumed_from"], result["bytes_fetched"]) == (MB, len(CONTENT) - MB)
    assert any("checking what is there" in str(event) for event in run.events)
    assert hub.bytes_sent() == len(CONTENT)


def test_another_file_upstream_starts_over(home: Home, hub: Hub) -> None:
    hub.add(Fault(FaultKind.DROP, after=MB), Fault(FaultKind.DROP, after=0, times=-1))
    with pytest.raises(Interrupted):
        Run(home, hub).finish()
    hub.clear()
    changed = CONTENT[:-1] + b"!"
    hub.repos[REPO].files["demo.gguf"] = changed
    run = Run(home, hub, Catalog.load(home).get("demo"))
    result = run.finish()
    assert [event.code for event in run.of_type(Warning)] == ["changed"]
    assert result["sha256"] == hashlib.sha256(changed).hexdigest()
    assert result["resumed_from"] == 0


def test_a_part_with_damaged_bytes_is_found_out(home: Home, hub: Hub) -> None:
    hub.add(Fault(FaultKind.DROP, after=MB), Fault(FaultKind.DROP, after=0, times=-1))
    with pytest.raises(Interrupted):
        Run(home, hub).finish()
    hub.clear()
    part = next(home.models.rglob("*.part"))
    part.write_bytes(bytes(MB))
    with pytest.raises(ChecksumMismatch):
        Run(home, hub, Catalog.load(home).get("demo")).finish()
    assert Run(home, hub, Catalog.load(home).get("demo")).finish()["sha256"] == SHA256


def test_a_hub_that_never_answers_is_given_up(home: Home) -> None:
    with Hub() as gone:
        pass
    with pytest.raises(HubUnreachable, match=r"http://127.*check the network and HF_ENDPOINT"):
        Run(home, gone, registered(home)).finish()


def test_a_hub_that_asks_for_too_long_a_wait_is_given_up(home: Home, hub: Hub) -> None:
    wait = {"Retry-After": "3600"}
    hub.add(Fault(FaultKind.STATUS, code=429, method="HEAD", where="hub", headers=wait))
    with pytest.raises(HubUnreachable, match="the hub answered 429"):
        Run(home, hub, settings=HASTY).finish()
