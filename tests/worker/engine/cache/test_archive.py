from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worker.engine.cache.kit import (
    FINGERPRINT,
    LARGE,
    counting,
    fetch,
    files,
    same,
    snapshot,
    store,
    tokens,
)
from worker.engine.cache.archive import Archive, Found
from worker.engine.cache.disk import DiskStore
from worker.engine.cache.snapshot import Snapshot, common_length


@contextmanager
def opened(
    folder: Path | None, ram_bytes: int = LARGE, backlog_bytes: int | None = None
) -> Iterator[Archive]:
    disk = store(folder) if folder else None
    archive = Archive(ram_bytes=ram_bytes, disk=disk, backlog_bytes=backlog_bytes)
    try:
        yield archive
    finally:
        archive.close()


class SlowDisk(DiskStore):
    """Waits with every write until it is let go."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, FINGERPRINT, LARGE)
        self.began, self.go, self.written = threading.Event(), threading.Event(), list[str]()

    def write(self, snapshot: Snapshot) -> bool:
        self.began.set()
        assert self.go.wait(20)
        self.written.append(snapshot.key)
        return super().write(snapshot)


def test_in_ram_without_a_disk() -> None:
    with opened(None) as archive:
        archive.put(snapshot("one", counting(0, 30)), durable=True)
        assert archive.find(counting(0, 40)) == Found("agent/one", 30, "warm")
        assert archive.find(counting(1, 40)) is None
        given: list[Snapshot | None] = []
        archive.fetch("agent/one", given.append)
        archive.fetch("agent/two", given.append)
        assert same(given[0], snapshot("one", counting(0, 30)))
        assert given[1] is None
        archive.keep_all()
        assert archive.flush(0)
        assert archive.stats().cold_limit == archive.stats().pending_writes == 0


def test_what_is_durable_is_there_after_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as archive:
        archive.put(snapshot("one", counting(0, 300), agent="a"), durable=True)
        archive.put(snapshot("two", counting(5, 300)), durable=False)
        assert archive.flush(20)
    with opened(tmp_path) as archive:
        assert archive.find(counting(0, 299)) == Found("agent/one", 299, "cold")
        assert archive.find(counting(5, 299)) is None
        assert same(fetch(archive, "agent/one"), snapshot("one", counting(0, 300), agent="a"))
        assert archive.find(counting(0, 299)) == Found("agent/one", 299, "warm")
        stats = archive.stats()
        assert (stats.warm_count, stats.cold_count, stats.writes) == (1, 1, 0)


def test_before_the_end_everything_is_kept(tmp_path: Path) -> None:
    with opened(tmp_path) as archive:
        for number in range(20):
            archive.put(snapshot(str(number), counting(number, 9)), durable=number % 2 == 0)
        archive.keep_all()
        assert archive.flush(20)
        assert archive.stats().writes == 20
    with opened(tmp_path) as archive:
        assert archive.stats().cold_count == 20


def test_what_falls_out_of_ram_goes_to_disk_if_it_is_durable(tmp_path: Path) -> None:
    with opened(tmp_path, 2_500) as archive:
        for name, durable in (("a", True), ("b", False), ("c", True), ("d", True)):
            archive.put(snapshot(name, counting(ord(name), 3)), durable=durable)
        assert archive.flush(20)
        found = [archive.find(counting(ord(name), 3)) for name in "abcd"]
        assert [it and it.tier for it in found] == ["cold", None, "warm", "warm"]
        assert archive.stats().backlog_bytes == 0


def test_what_is_larger_than_ram_goes_straight_to_disk(tmp_path: Path) -> None:
    with opened(tmp_path, 100) as archive:
        archive.put(snapshot("one"), durable=True)
        archive.put(snapshot("two"), durable=False)
        assert archive.flush(20)
        assert same(fetch(archive, "agent/one"), snapshot("one"))
        assert fetch(archive, "agent/two") is None
        assert archive.stats().warm_count == 0


def test_the_agents_own_goes_first_then_what_is_in_ram(tmp_path: Path) -> None:
    with opened(tmp_path) as archive:
        for name in "ab":
            archive.put(snapshot(name, counting(0, 9), agent=name), durable=True)
        assert archive.flush(20)
    with opened(tmp_path) as archive:
        archive.put(snapshot("c", counting(0, 9)), durable=False)
        prompt = counting(0, 20)
        assert archive.find(prompt) == Found("agent/c", 9, "warm")
        assert archive.find(prompt, agent="b") == Found("agent/b", 9, "cold")
        assert archive.find(prompt, agent="nobody") == Found("agent/c", 9, "warm")


def test_exact_ones_only_and_whole_blocks() -> None:
    with opened(None) as archive:
        archive.put(snapshot("loose", counting(0, 900)), durable=False)
        assert archive.find(counting(0, 900), exact=True) is None
        archive.put(snapshot("exact", counting(0, 512), exact=True), durable=False)
        assert archive.find(counting(0, 900), exact=True) == Found("agent/exact", 512, "warm")
        assert archive.find(counting(0, 511), exact=True) == Found("agent/exact", 256, "warm")


def test_what_waits_to_be_written_can_be_had_and_only_the_newest_is_written(
    tmp_path: Path,
) -> None:
    disk = SlowDisk(tmp_path)
    archive = Archive(ram_bytes=100, disk=disk)
    archive.put(snapshot("first", tokens(9)), durable=True)
    assert disk.began.wait(20)
    for version in range(5):
        archive.put(snapshot("one", counting(version, 5)), durable=version == 0)
    assert archive.find(counting(4, 9)) == Found("agent/one", 5, "warm")
    assert archive.find(counting(0, 4)) is None
    assert same(fetch(archive, "agent/one"), snapshot("one", counting(4, 5)))
    assert archive.stats().pending_writes == 2
    assert not archive.flush(0)
    disk.go.set()
    assert archive.flush(20)
    assert disk.written == ["agent/first", "agent/one"]
    assert same(fetch(archive, "agent/one"), snapshot("one", counting(4, 5)))
    archive.close()


@pytest.mark.parametrize("change", ["remove", "reject", "put"])
def test_what_changes_while_it_is_read_is_not_brought_back(tmp_path: Path, change: str) -> None:
    store(tmp_path).write(snapshot("one", tokens(9)))
    newer = snapshot("one", tokens(8))
    archive: Archive

    class Overtaken(DiskStore):
        def read(self, key: str) -> Snapshot | None:
            given = super().read(key)
            if change == "put":
                archive.put(newer, durable=False)
            elif change == "remove":
                archive.remove(key)
            else:
                archive.reject(key, "short")
            return given

    disk = Overtaken(tmp_path, FINGERPRINT, LARGE)
    archive = Archive(ram_bytes=LARGE, disk=disk)
    given = fetch(archive, "agent/one")
    assert archive.flush(20)
    assert same(given, newer) if change == "put" else given is None
    assert archive.find(tokens(9)) is None
    archive.close()


def test_a_read_does_not_wait_for_a_long_write(tmp_path: Path) -> None:
    store(tmp_path).write(snapshot("stored", tokens(9)))
    disk = store(tmp_path)
    archive = Archive(ram_bytes=0, disk=disk)
    events: list[str] = []
    let_through = disk.on_pause

    def on_pause() -> None:
        if not events:
            events.append("writing")
            archive.fetch("agent/stored", lambda given: events.append(given.key if given else ""))
        let_through()

    disk.on_pause = on_pause
    archive.put(snapshot("large", state=bytes(20 << 20)), durable=True)
    assert archive.flush(20)
    assert events == ["writing", "agent/stored"]
    assert archive.stats().writes == 1
    assert same(fetch(archive, "agent/large"), snapshot("large", state=bytes(20 << 20)))
    archive.close()


def test_a_disk_slower_than_what_comes_costs_bounded_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = SlowDisk(tmp_path)
    archive = Archive(ram_bytes=0, disk=disk, backlog_bytes=3_500)
    archive.put(snapshot("0", tokens(100)), durable=True)
    assert disk.began.wait(20)
    for number in range(1, 10):
        archive.put(snapshot(str(number), tokens(number)), durable=True)
        assert archive.stats().backlog_bytes <= 3_500
    disk.go.set()
    assert archive.flush(20)
    assert disk.written == ["agent/0", "agent/8", "agent/9"]
    assert archive.stats().failures == {"backlog": 7}
    assert sum("backlog" in line for line in caplog.messages) == 1
    assert archive.find(tokens(5)) is None
    archive.close()


def test_removal_overtakes_what_waits_and_a_later_put_overtakes_it(tmp_path: Path) -> None:
    disk = SlowDisk(tmp_path)
    archive = Archive(ram_bytes=LARGE, disk=disk)
    archive.put(snapshot("gone", tokens(7)), durable=True)
    assert disk.began.wait(20)
    archive.remove("agent/gone")
    assert archive.find(tokens(7)) is None
    assert fetch(archive, "agent/gone") is None
    archive.put(snapshot("dropped", tokens(8)), durable=True)
    archive.remove("agent/dropped")
    archive.remove("agent/back")
    archive.put(snapshot("back", tokens(9)), durable=True)
    disk.go.set()
    assert archive.flush(20)
    assert disk.written == ["agent/gone", "agent/back"]
    assert len(files(tmp_path)) == 1
    assert archive.find(tokens(7)) is archive.find(tokens(8)) is None
    archive.close()


def test_what_does_not_restore_is_set_aside_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path) as archive, caplog.at_level(logging.WARNING):
        archive.put(snapshot("one"), durable=True)
        assert archive.flush(20)
        archive.reject("agent/one", "short")
        assert archive.find(tokens(1, 2, 3)) is None
        assert archive.flush(20)
        assert [path.suffixes for path in files(tmp_path, "*.bad")] == [[".short", ".bad"]]
        assert archive.stats().failures == {"short": 1}
        assert [line for line in caplog.messages if "short" in line and str(tmp_path) in line]
        assert archive.stats().cold_count == archive.stats().warm_count == 0


def test_a_damaged_file_gives_none_and_an_older_answer_is_not_kept(tmp_path: Path) -> None:
    with opened(tmp_path) as archive:
        archive.put(snapshot("one"), durable=True)
        assert archive.flush(20)
    with opened(tmp_path) as archive:
        (path,) = files(tmp_path)
        path.write_bytes(path.read_bytes()[:-9] + b"x" * 9)
        assert archive.find(tokens(1, 2)) == Found("agent/one", 2, "cold")
        assert fetch(archive, "agent/one") is None
        assert archive.find(tokens(1, 2)) is None
        assert archive.stats().failures == {"checksum": 1}


def test_what_the_disk_drops_is_written_again_when_it_leaves_ram(tmp_path: Path) -> None:
    with opened(tmp_path, 2_500) as archive:
        archive.put(snapshot("one", tokens(5)), durable=True)
        assert archive.flush(20)
        files(tmp_path)[0].unlink()
        archive.put(snapshot("two", tokens(6)), durable=True)
        assert archive.flush(20)
        archive.put(snapshot("three", tokens(7)), durable=True)
        assert archive.flush(20)
        assert archive.find(tokens(5)) == Found("agent/one", 1, "cold")


def test_an_unusable_disk_leaves_ram(tmp_path: Path) -> None:
    (tmp_path / "agents").write_text("a file")
    with opened(tmp_path / "agents") as archive:
        for name in "abc":
            archive.put(snapshot(name, tokens(ord(name))), durable=True)
        assert archive.flush(20)
        assert archive.stats().write_errors == 3
        assert archive.find(tokens(ord("b"))) == Found("agent/b", 1, "warm")
        assert same(fetch(archive, "agent/b"), snapshot("b", tokens(ord("b"))))


def test_after_the_end_nothing_hangs(tmp_path: Path) -> None:
    threads = set(threading.enumerate())
    with opened(tmp_path) as archive:
        archive.put(snapshot("one", tokens(5)), durable=True)
        assert archive.flush(20)
    with opened(tmp_path) as archive:
        pass
    assert fetch(archive, "agent/one") is None
    archive.put(snapshot("two", tokens(6)), durable=True)
    archive.remove("agent/one")
    assert archive.flush(0)
    archive.close()
    assert set(threading.enumerate()) <= threads


def test_a_caller_that_raises_does_not_end_the_thread(tmp_path: Path) -> None:
    with opened(tmp_path, 100) as archive:
        archive.put(snapshot("one", tokens(5)), durable=True)
        assert archive.flush(20)
        archive.fetch("agent/one", lambda given: 1 / 0)  # type: ignore[arg-type, return-value]
        assert same(fetch(archive, "agent/one"), snapshot("one", tokens(5)))


ACTIONS = st.tuples(
    st.sampled_from(["put", "keep", "fetch", "remove", "reject", "flush", "reopen"]),
    st.sampled_from("abcdef"),
    st.lists(st.integers(0, 1), min_size=1, max_size=6),
    st.integers(0, 900),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(ACTIONS, max_size=25), st.integers(0, 3_000))
def test_what_it_gives_was_put_in_and_its_budgets_hold(
    actions: list[tuple[str, str, list[int], int]], ram_bytes: int
) -> None:
    """A snapshot found is one that was put under that key last, and as long as it was said."""
    with tempfile.TemporaryDirectory() as name:
        last: dict[str, Snapshot] = {}
        older: dict[str, list[Snapshot]] = {}

        def open_archive() -> Archive:
            return Archive(ram_bytes=ram_bytes, disk=store(Path(name), 4_000), open_s=20)

        archive = open_archive()
        for action, each, values, size in actions:
            key = f"agent/{each}"
            if action in ("put", "keep"):
                last[key] = snapshot(each, tokens(*values), state=bytes([size % 256]) * size)
                older.setdefault(key, []).append(last[key])
                archive.put(last[key], durable=action == "keep")
            elif action == "fetch":
                given = fetch(archive, key)
                assert given is None or any(same(given, put) for put in older.get(key, []))
            elif action == "flush":
                assert archive.flush(20)
            elif action == "reopen":
                archive.flush(20)
                archive.close()
                archive = open_archive()
            else:
                getattr(archive, action)(*((key, "short") if action == "reject" else (key,)))
                older.pop(key, None)
            found = archive.find(tokens(*values))
            if found is not None:
                given = fetch(archive, found.key)
                if given is not None:
                    assert any(same(given, put) for put in older[found.key])
            stats = archive.stats()
            assert stats.warm_bytes <= stats.warm_limit
            assert stats.cold_bytes <= stats.cold_limit
        assert archive.flush(20)
        assert archive.stats().backlog_bytes == archive.stats().pending_writes == 0
        found = archive.find(tokens(0, 0, 0, 0, 0, 0))
        if found is not None:
            given = fetch(archive, found.key)
            assert given is not None
            assert common_length(given.tokens, np.zeros(6, np.int32)) == found.length
        archive.close()
