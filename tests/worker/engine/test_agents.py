"""Agents: one at a time, in order; hot, warm and cold; and proof that the cache was used."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.runner import FakeRunner
from tests.worker.engine.driving import cached, request, run, text_of
from worker.engine.blocks import CELLS_PER_BLOCK
from worker.engine.cache.archive import Archive
from worker.engine.cache.disk import DiskStore
from worker.engine.cache.fingerprint import Fingerprint
from worker.engine.engine import Engine
from worker.engine.runner import MemoryTraits

HISTORY = text_of(700)


def make_engine(archive: Archive | None = None, **options: object) -> Engine:
    defaults = {"num_slots": 8, "num_cells": 32 * CELLS_PER_BLOCK, "max_batch_tokens": 256}
    runner = FakeRunner(**(defaults | options))  # type: ignore[arg-type]
    return Engine(runner, archive=archive, drafts=False)


def make_archive(folder: Path, ram_bytes: int = 1 << 20) -> Archive:
    fingerprint = Fingerprint(model_sha256="0" * 64, llama_build="test", kv_type="f16")
    return Archive(ram_bytes=ram_bytes, disk=DiskStore(folder, fingerprint, 1 << 30))


def turn(n: int, agent: str = "anna") -> bytes:
    """The prompt of an agent's n-th turn: all that was said, and a question. The runner says the
    prompt again, so four tokens of it are the answer."""
    prompt = agent.encode() + HISTORY
    for i in range(n):
        prompt += prompt[:4] + b" question %d of %s" % (i, agent.encode())
    return prompt


def test_an_agents_requests_run_one_at_a_time_and_in_order() -> None:
    engine = make_engine()
    for n in range(3):
        engine.add(request(f"a{n}", b"%d" % n * 30, agent="anna"))
    engine.add(request("b", b"other" * 6, agent="ben"))
    order = []
    while not engine.is_empty:
        order += [e.request_id for e in engine.step() if not hasattr(e, "token_id")]
        assert engine.stats().running <= 2
    assert [name for name in order if name != "b"] == ["a0", "a1", "a2"]
    assert order[0] in ("a0", "b") and order[1] in ("a0", "b")


def test_a_turn_computes_only_what_is_new() -> None:
    engine = make_engine()
    run(engine, request("1", turn(0), agent="anna"))
    for n in range(1, 6):
        (hit,) = cached(engine, request(f"{n}+", turn(n), agent="anna"))
        assert hit == len(turn(n - 1)) + 3  # all but the answer's last token


def test_a_turn_that_was_edited_keeps_what_is_still_true() -> None:
    engine = make_engine()
    run(engine, request("1", turn(3), agent="anna"))
    edited = turn(2) + b"!something else"
    assert cached(engine, request("2", edited, agent="anna")) == [len(turn(2))]


@pytest.mark.parametrize("named", [True, False], ids=["by name", "by content"])
def test_an_agent_comes_back_from_ram(named: bool) -> None:
    engine = make_engine(Archive(ram_bytes=1 << 20))
    agent = "anna" if named else None
    run(engine, request("1", turn(0), agent=agent))
    for n in range(40):  # others push it out
        run(engine, request(f"x{n}", text_of(500, start=10_000 * n + 5000)))
    end = run(engine, request("2", turn(1), agent=agent))["2"]
    assert end.timings.cached_tokens == end.timings.restored_tokens == len(turn(0)) + 3
    assert engine.stats().cache.restores_total == 1


def test_agents_survive_the_worker(tmp_path: Path) -> None:
    for n in range(4):
        archive = make_archive(tmp_path)
        engine = make_engine(archive)
        requests = [request(name, turn(n, name), agent=name) for name in ("anna", "ben")]
        assert cached(engine, *requests) == [
            len(turn(n - 1, name)) + 3 if n else 0 for name in ("anna", "ben")
        ]
        engine.keep_all()
        assert archive.flush(10)
        archive.close()


def test_an_agent_is_saved_while_nobody_waits(tmp_path: Path) -> None:
    archive = make_archive(tmp_path)
    engine = make_engine(archive)
    run(engine, request("1", turn(0), agent="anna"))
    assert engine.has_chores
    engine.do_chore()
    assert not engine.has_chores
    assert archive.flush(10) and archive.stats().cold_count == 1
    archive.close()


def test_what_nobody_came_back_to_is_not_written(tmp_path: Path) -> None:
    archive = make_archive(tmp_path)
    engine = make_engine(archive)
    run(engine, request("1", turn(0)))
    assert not engine.has_chores
    run(engine, request("2", turn(1)))
    assert engine.has_chores
    archive.close()


def test_a_state_that_does_not_restore_is_counted_set_aside_and_computed(tmp_path: Path) -> None:
    archive = make_archive(tmp_path)
    engine = make_engine(archive)
    run(engine, request("1", turn(0), agent="anna"))
    engine.keep_all()
    assert engine.spill("anna") and archive.flush(10)
    runner = engine.runner
    assert isinstance(runner, FakeRunner)
    runner.fail_restore("short")
    end = run(engine, request("2", turn(1), agent="anna"))["2"]
    assert end.timings.cached_tokens == 0
    stats = engine.stats().cache
    assert stats.failures == {"short": 1} and stats.restores_total == 0
    assert archive.flush(10)
    assert list(tmp_path.glob("*/*.bad")) and archive.stats().cold_count == 0
    assert cached(engine, request("3", turn(2), agent="anna")) == [len(turn(1)) + 3]
    archive.close()


def test_a_state_that_can_only_be_used_whole_is_not_restored_for_a_part() -> None:
    archive = Archive(ram_bytes=1 << 20)
    engine = make_engine(archive, memory=MemoryTraits("recurrent", can_trim=False))
    run(engine, request("1", turn(2), agent="anna"))
    assert engine.spill("anna")
    assert cached(engine, request("2", turn(1) + b"?", agent="anna")) == [0]
    stats = engine.stats().cache
    assert (stats.useless_restores_total, stats.restores_total) == (0, 0)


def test_a_restore_that_shortens_nothing_is_an_error_in_the_metrics(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The memory takes the state, and then cannot use the part of it that was wanted."""
    archive = Archive(ram_bytes=1 << 20)
    engine = make_engine(archive)
    run(engine, request("1", turn(2), agent="anna"))
    assert engine.spill("anna")
    engine.runner.can_reuse = lambda slot, length: False  # type: ignore[method-assign]
    assert cached(engine, request("2", turn(1) + b"?", agent="anna")) == [0]
    stats = engine.stats().cache
    assert (stats.useless_restores_total, stats.restores_total) == (1, 0)
    assert "restored for nothing" in caplog.text


def test_a_request_whose_agent_is_being_read_holds_up_nobody(tmp_path: Path) -> None:
    archive = make_archive(tmp_path)
    engine = make_engine(archive)
    run(engine, request("1", turn(0), agent="anna"))
    engine.keep_all()
    archive.flush(10)
    archive.close()

    archive = make_archive(tmp_path)
    engine = make_engine(archive)
    held: list[object] = []
    fetch = archive.fetch
    archive.fetch = lambda key, on_done: held.append((key, on_done))  # type: ignore[method-assign]
    engine.add(request("2", turn(1), agent="anna"))
    engine.add(request("3", turn(2), agent="anna"))
    engine.step()
    assert held and not engine.has_work
    engine.add(request("other", b"hello" * 10))
    while engine.has_work:
        engine.step()
    assert engine.stats().waiting == 2
    fetch(*held[0])  # type: ignore[misc]
    assert set(run(engine)) == {"2", "3"}
    archive.close()


def test_cancelled_while_its_agent_is_read(tmp_path: Path) -> None:
    archive = Archive(ram_bytes=1 << 20)
    engine = make_engine(archive)
    run(engine, request("1", turn(0), agent="anna"))
    engine.spill("anna")
    held: list[object] = []
    fetch = archive.fetch
    archive.fetch = lambda key, on_done: held.append((key, on_done))  # type: ignore[method-assign]
    engine.add(request("2", turn(1), agent="anna"))
    engine.step()
    (end,) = engine.cancel("2")
    assert end.request_id == "2" and engine.is_empty
    fetch(*held[0])  # type: ignore[misc]
    archive.fetch = fetch  # type: ignore[method-assign]
    assert cached(engine, request("3", turn(1), agent="anna")) == [len(turn(0)) + 3]
