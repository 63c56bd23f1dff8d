"""Agents by name: what is known of each, and what becomes of one that is doubled or deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.runner import FakeRunner
from tests.worker.engine.driving import cached, request, run, text_of
from worker.engine import agents
from worker.engine.async_engine import AsyncEngine
from worker.engine.blocks import CELLS_PER_BLOCK
from worker.engine.cache.archive import Archive
from worker.engine.cache.disk import DiskStore
from worker.engine.cache.fingerprint import Fingerprint
from worker.engine.cache.snapshot import MAX_TAIL, Snapshot
from worker.engine.engine import Engine
from worker.engine.errors import (
    AgentBusy,
    AgentExists,
    EngineStopped,
    NothingKept,
    UnknownAgent,
)
from worker.engine.events import FinishReason
from worker.engine.params import SamplingParams
from worker.engine.request import GenerateRequest

TALK = text_of(700)


def make_engine(archive: Archive | None = None, **options: object) -> Engine:
    defaults = {"num_slots": 4, "num_cells": 16 * CELLS_PER_BLOCK, "max_batch_tokens": 256}
    return Engine(FakeRunner(**(defaults | options)), archive=archive, drafts=False)  # type: ignore[arg-type]


def make_archive(folder: Path, ram_bytes: int = 1 << 20) -> Archive:
    fingerprint = Fingerprint(model_sha256="0" * 64, llama_build="test", kv_type="f16")
    return Archive(ram_bytes=ram_bytes, disk=DiskStore(folder, fingerprint, 1 << 30))


@pytest.mark.parametrize("reproducible", [False, True])
@pytest.mark.parametrize("script", [None, b"ok"], ids=["cut at its length", "to its end"])
def test_the_text_is_all_of_prompt_and_answer(
    tmp_path: Path, script: bytes | None, reproducible: bool
) -> None:
    """Also of the last token, which was never computed; and after a restart."""
    archive = make_archive(tmp_path)
    engine = make_engine(archive, script=script)
    run(engine, request("1", TALK, 4, agent="anna", reproducible=reproducible))
    expected = TALK + (script or TALK[:4])
    assert bytes(engine.agents.text("anna")) == expected
    engine.agents.spill("anna")
    assert bytes(engine.agents.text("anna")) == expected
    engine.keep_all()
    assert archive.flush(10)
    archive.close()
    again = make_engine(make_archive(tmp_path))
    assert bytes(again.agents.text("anna")) == expected
    assert again.agents.view("anna").tier == "cold"


def test_a_prompt_is_computed_and_nothing_said() -> None:
    engine = make_engine()
    one = GenerateRequest("1", tuple(TALK), SamplingParams(), agent="anna", prefill_only=True)
    end = run(engine, one)["1"]
    assert (end.reason, end.timings.completion_tokens) == (FinishReason.LENGTH, 0)
    assert bytes(engine.agents.text("anna")) == TALK
    assert cached(engine, request("2", TALK + b"?", agent="anna")) == [len(TALK)]


def test_a_turn_that_broke_off_in_its_prompt_leaves_what_was_computed() -> None:
    engine = make_engine()
    engine.add(request("1", TALK, agent="anna"))
    engine.step()
    engine.cancel("1")
    text = bytes(engine.agents.text("anna"))
    assert TALK.startswith(text) and MAX_TAIL < len(text) < len(TALK)


def test_short_texts_are_kept_for_who_has_a_name() -> None:
    engine = make_engine(Archive(ram_bytes=1 << 20))
    run(engine, request("1", b"Hi", 1, agent="anna"))
    assert bytes(engine.agents.text("anna")) == b"HiH"
    assert engine.spill("anna")
    assert bytes(engine.agents.text("anna")) == b"HiH"


def test_who_runs_or_waits_is_busy() -> None:
    engine = make_engine()
    for name in ("1", "2"):
        engine.add(request(name, TALK, agent="anna"))
    assert engine.agents.view("anna").status == "waiting"
    engine.step()
    assert engine.agents.view("anna").status == "running"
    for ask in (
        lambda: engine.agents.text("anna"),
        lambda: engine.agents.delete("anna"),
        lambda: engine.agents.fork("anna", "ben"),
        lambda: engine.agents.spill("anna"),
        lambda: engine.agents.fetch("anna", lambda it: None),
        lambda: engine.agents.put("anna", Snapshot("x", np.zeros(1, np.int32), b"")),
    ):
        with pytest.raises(AgentBusy):
            ask()
    assert not engine.agents.knows("ben")
    run(engine)
    view = engine.agents.view("anna")
    assert (view.status, view.turns, view.hits) == ("idle", 2, 1)


@pytest.mark.parametrize("split", [False, True])
def test_a_fork_in_the_context_shares_or_copies_its_cells(split: bool) -> None:
    engine = make_engine(split_cells=4 * CELLS_PER_BLOCK if split else None)
    run(engine, request("1", TALK, agent="anna"))
    before = engine.stats().cache.cells_used
    assert engine.agents.fork("anna", "ben")
    engine.check_integrity()
    more = engine.stats().cache.cells_used - before
    assert more == (3 if split else 1) * CELLS_PER_BLOCK
    assert engine.agents.text("ben") == engine.agents.text("anna")
    engine.agents.delete("anna")
    engine.check_integrity()
    prompt = bytes(engine.agents.text("ben")) + b"?"
    assert cached(engine, request("2", prompt, agent="ben")) == [len(TALK) + 3]


def test_a_fork_moves_nobody_out() -> None:
    engine = make_engine(Archive(ram_bytes=1 << 20), num_slots=1)
    run(engine, request("1", TALK, agent="anna"))
    assert not engine.agents.fork("anna", "ben")  # to be brought by way of RAM
    taken: list[Snapshot | None] = []
    engine.agents.fetch("anna", taken.append)
    assert taken[0] is not None
    engine.agents.put("ben", taken[0])
    assert [engine.agents.view(name).tier for name in ("anna", "ben")] == ["hot", "warm"]


def test_what_finds_no_room_is_not_taken() -> None:
    engine = make_engine(Archive(ram_bytes=100))
    run(engine, request("1", TALK, agent="anna"))
    taken: list[Snapshot | None] = []
    engine.agents.fetch("anna", taken.append)
    assert taken[0] is not None
    with pytest.raises(NothingKept):
        engine.agents.put("ben", taken[0])


def test_records_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "MAX_RECORDS", 3)
    engine = make_engine()
    for n in range(5):
        engine.agents.create(f"{n}")
    views, has_more = engine.agents.page("", 10)
    assert ([view.name for view in views], has_more) == (["2", "3", "4"], False)
    with pytest.raises(AgentExists):
        engine.agents.create("4")
    with pytest.raises(UnknownAgent):
        engine.agents.view("0")


def test_a_deleted_agent_stays_deleted_whatever_was_being_written(tmp_path: Path) -> None:
    archive = make_archive(tmp_path)
    engine = make_engine(archive)
    for n in range(30):
        run(engine, request(f"{n}", TALK + b"%d" % n, agent="anna"))
        engine.do_chore()  # hands it to the thread that writes
        engine.agents.delete("anna")
    assert archive.flush(10)
    assert not engine.agents.knows("anna") and not archive.agents
    assert not list(tmp_path.rglob("*.kv"))
    archive.close()


def test_what_was_set_aside_of_a_deleted_agent_goes_too(tmp_path: Path) -> None:
    archive = make_archive(tmp_path)
    engine = make_engine(archive)
    run(engine, request("1", TALK, agent="anna"))
    engine.keep_all()
    assert engine.spill("anna") and archive.flush(10)
    assert isinstance(engine.runner, FakeRunner)
    engine.runner.fail_restore("short")
    run(engine, request("2", TALK + b"?", agent="anna"))
    assert archive.flush(10) and list(tmp_path.rglob("*.bad"))
    engine.agents.delete("anna")
    assert archive.flush(10)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    archive.close()


def asyncly(test: Callable[[AsyncEngine], Awaitable[None]], archive: Archive) -> None:
    async def play() -> None:
        engine = AsyncEngine(FakeRunner(num_slots=2), archive=archive, drafts=False)
        engine.start()
        async with asyncio.timeout(20):
            try:
                await test(engine)
            finally:
                await engine.stop(0.0)

    asyncio.run(play())


def test_the_desk_ends_what_runs_before_it_deletes(tmp_path: Path) -> None:
    async def test(engine: AsyncEngine) -> None:
        going = [engine.generate(request(f"{n}", b"abc", 1900, agent="anna")) for n in range(3)]
        await going[0].next_events()
        with pytest.raises(AgentBusy):
            await engine.agents.delete("anna")
        await engine.agents.delete("anna", cancel=True)
        for one in going:
            *_, end = [event async for event in one]
            assert getattr(end, "reason", None) is FinishReason.CANCELLED
        assert not await engine.agents.knows("anna")
        assert not list(tmp_path.rglob("*.kv"))

    asyncly(test, make_archive(tmp_path))


def test_one_claim_at_a_time_and_none_left_behind(tmp_path: Path) -> None:
    async def test(engine: AsyncEngine) -> None:
        desk = engine.agents
        with desk.claimed("anna"):
            with pytest.raises(AgentBusy), desk.claimed("anna"):
                raise AssertionError("claimed twice")
            with pytest.raises(AgentBusy):
                await desk.delete("anna")
        with pytest.raises(UnknownAgent):
            await desk.delete("anna")
        with pytest.raises(UnknownAgent):
            await desk.fork("anna", "ben")
        assert not await desk.knows("ben")

    asyncly(test, make_archive(tmp_path))


def test_a_desk_without_an_engine_says_so(tmp_path: Path) -> None:
    stopped: list[AsyncEngine] = []

    async def test(engine: AsyncEngine) -> None:
        stopped.append(engine)

    asyncly(test, make_archive(tmp_path))

    async def ask() -> None:
        with pytest.raises(EngineStopped):
            await stopped[0].agents.view("anna")

    asyncio.run(ask())
