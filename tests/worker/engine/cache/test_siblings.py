"""One budget for all models' and builds' folders."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worker.engine.cache.kit import FINGERPRINT, LARGE, files, same, snapshot, store
from worker.engine.cache import disk_files
from worker.engine.cache.disk import DiskStore
from worker.engine.cache.file_format import encode_head

OTHER = replace(FINGERPRINT, llama_build="b6999")
SIZE = len(encode_head(snapshot("a"), FINGERPRINT)) + 1_000
MOST = 3 * SIZE + SIZE // 2


def age(folder: Path, seconds: float) -> None:
    os.utime(folder, (time.time() - seconds,) * 2)


def names(disk: DiskStore) -> set[str]:
    return {name for name in "abcdefgh" if disk.path(f"agent/{name}").exists()}


ACTIONS = st.tuples(st.integers(0, 1), st.sampled_from("abcd"), st.sampled_from("wwwrxo"))


@settings(deadline=None, max_examples=60)
@given(st.lists(ACTIONS, max_size=30))
def test_the_least_recently_used_of_all_make_room(actions: list[tuple[int, str, str]]) -> None:
    """write, read, remove, or reopen in one of two; a dict in the order of use is the model."""
    with tempfile.TemporaryDirectory() as name:
        folder, model = Path(name), dict[tuple[int, str], None]()

        def opened(of: int) -> DiskStore:
            return store(folder, MOST, (FINGERPRINT, OTHER)[of], siblings_s=0)

        disks = [opened(0), opened(1)]
        for of, each, action in actions:
            if action == "w":
                assert disks[of].write(snapshot(each))
                model.pop((of, each), None)
                if len(model) == 3:
                    del model[next(iter(model))]
                model[of, each] = None
            elif action == "r":
                assert (disks[of].read(f"agent/{each}") is not None) == ((of, each) in model)
                if (of, each) in model:
                    del model[of, each]
                    model[of, each] = None
            elif action == "x":
                disks[of].remove(f"agent/{each}")
                model.pop((of, each), None)
            else:
                disks[of] = opened(of)
                disks[of].refresh()
            kept = {(number, it) for number in (0, 1) for it in names(disks[number])}
            assert kept == set(model)
            assert sum(path.stat().st_size for path in files(folder)) <= MOST


def test_siblings_are_listed_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[Path | str] = []
    for number in range(3):
        assert store(tmp_path, of=replace(OTHER, llama_build=str(number))).write(snapshot("a"))
    scan = disk_files.scan
    monkeypatch.setattr(
        "worker.engine.cache.siblings.scan", lambda folder: listed.append(folder) or scan(folder)
    )
    disk = store(tmp_path, 5 * SIZE)
    for number in range(40):
        assert disk.write(snapshot(str(number)))
    assert len(listed) == 3
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 5 * SIZE
    assert len(files(disk.folder)) == len(files(tmp_path))


def test_what_another_used_since_is_not_the_oldest(tmp_path: Path) -> None:
    live, disk = store(tmp_path, MOST, OTHER), store(tmp_path, MOST)
    for name in "ab":
        assert live.write(snapshot(name))
    assert disk.write(snapshot("c"))
    assert live.read("agent/a") is not None
    assert disk.write(snapshot("d"))
    assert (names(live), names(disk)) == ({"a"}, {"c", "d"})
    live.refresh()
    assert same(live.read("agent/a"), snapshot("a"))


def test_only_what_a_store_left_is_touched(tmp_path: Path) -> None:
    mine = [
        tmp_path / ("a" * 33) / ("b" * 32 + ".kv"),
        tmp_path / ("a" * 31) / ("b" * 32 + ".kv"),
        tmp_path / ("a" * 32) / "letter.kv",
        tmp_path / ("a" * 32) / "letter.tmp",
        tmp_path / ("a" * 32) / ("b" * 32 + ".txt"),
        tmp_path / ("b" * 32 + ".kv"),
    ]
    elsewhere = tmp_path.with_name("elsewhere")
    for path in (*mine, elsewhere / ("b" * 32 + ".kv")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(2 * MOST))
        os.utime(path, (0, 0))
    (tmp_path / ("c" * 32)).symlink_to(elsewhere)
    (tmp_path / ("a" * 32) / ("d" * 32 + ".kv")).symlink_to(mine[0])
    (tmp_path / ("a" * 32) / ("e" * 32 + ".kv")).mkdir()
    before = sorted(tmp_path.rglob("*"))
    disk = store(tmp_path, MOST, siblings_s=0)
    for name in "abcdefgh":
        assert disk.write(snapshot(name))
    assert names(disk) == set("fgh")
    assert set(before) <= set(tmp_path.rglob("*"))
    assert len(files(elsewhere)) == 1


def test_what_cannot_be_deleted_counts_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = store(tmp_path, LARGE, OTHER)
    for name in "abc":
        assert other.write(snapshot(name))
    unlink = os.unlink

    def refuse(path: str) -> None:
        if path == str(other.path("agent/a")):
            raise PermissionError(1, "not permitted")
        unlink(path)

    monkeypatch.setattr(disk_files.os, "unlink", refuse)
    disk = store(tmp_path, MOST, siblings_s=0)
    for name in "abcde":
        assert disk.write(snapshot(name))
    assert (names(other), names(disk)) == ({"a"}, {"c", "d", "e"})
    assert disk.tally.failures == {"permission": 1}


def test_empty_folders_of_others_go_when_all_is_quiet(tmp_path: Path) -> None:
    live, disk = store(tmp_path, LARGE, OTHER), store(tmp_path, siblings_s=0)
    assert live.write(snapshot("a"))
    live.remove("agent/a")
    assert disk.write(snapshot("a"))
    assert live.folder.exists()
    age(live.folder, 3_600)
    assert disk.write(snapshot("b"))
    assert not live.folder.exists()
    live.refresh()
    assert live.write(snapshot("a"))
    age(live.folder, 3_600)
    assert disk.write(snapshot("c"))
    assert same(live.read("agent/a"), snapshot("a"))
    assert live.tally.failures == {}


def test_a_folder_that_goes_under_a_write_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, make, made = store(tmp_path), disk_files.make_folder, list[Path]()

    def make_and_lose(folder: Path) -> None:
        make(folder)
        made.append(folder)
        if len(made) < 3:
            folder.rmdir()

    monkeypatch.setattr(disk_files, "make_folder", make_and_lose)
    assert disk.write(snapshot("a"))
    assert len(made) == 3
    assert same(disk.read("agent/a"), snapshot("a"))


def test_what_was_set_aside_and_abandoned_by_others_goes_too(tmp_path: Path) -> None:
    other = store(tmp_path, LARGE, OTHER)
    assert other.write(snapshot("a", state=bytes(MOST)))
    other.set_aside("agent/a", "refused")
    (other.folder / ".x.1.tmp").write_bytes(b"half")
    assert store(tmp_path, MOST).write(snapshot("a"))
    assert list(other.folder.iterdir()) == []
