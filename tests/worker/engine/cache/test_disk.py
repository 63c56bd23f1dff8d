from __future__ import annotations

import errno
import fcntl
import logging
import os
import resource
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worker.engine.cache.kit import (
    FINGERPRINT,
    counting,
    files,
    same,
    snapshot,
    store,
    tokens,
)
from worker.engine.cache import disk_files
from worker.engine.cache.file_format import encode_head
from worker.engine.cache.snapshot import Snapshot


@pytest.mark.parametrize(
    "kept",
    [
        snapshot("plain"),
        snapshot("of an agent", counting(5, 3_000), agent="ägent\n\x00\ud800", exact=True),
        snapshot("../../etc/passwd", state=os.urandom(200_000)),
        snapshot("empty", tokens(), state=b""),
    ],
    ids=lambda kept: kept.key,
)
def test_a_snapshot_comes_back_as_it_was(tmp_path: Path, kept: Snapshot) -> None:
    disk = store(tmp_path)
    assert disk.write(kept)
    for again in (disk, store(tmp_path)):
        again.refresh()
        assert same(again.read(kept.key), kept)
        assert again.num_bytes == files(tmp_path)[0].stat().st_size
    assert disk.tally.failures == {}


def test_nobody_else_may_look_in(tmp_path: Path) -> None:
    disk = store(tmp_path / "agents")
    disk.write(snapshot("one"))
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (disk.folder, *files(tmp_path))]
    assert modes == [0o700, 0o600]


def test_a_newer_one_replaces_the_older(tmp_path: Path) -> None:
    disk = store(tmp_path)
    disk.write(snapshot("one", state=b"older"))
    disk.write(snapshot("one", counting(0, 9), state=b"newer"))
    assert len(files(tmp_path)) == 1
    assert same(disk.read("agent/one"), snapshot("one", counting(0, 9), state=b"newer"))


SIZE = len(encode_head(snapshot("a"), FINGERPRINT)) + 1_000


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("wwwrxo")), max_size=30))
def test_the_least_recently_used_make_room(actions: list[tuple[str, str]]) -> None:
    """write, read, remove, or reopen; a dict in the order of use is the model."""
    with tempfile.TemporaryDirectory() as name:
        folder, most, model = Path(name), 3 * SIZE + SIZE // 2, dict[str, None]()
        disk = store(folder, most)
        for each, action in actions:
            if action == "w":
                assert disk.write(snapshot(each))
                model.pop(each, None)
                if len(model) == 3:
                    del model[next(iter(model))]
                model[each] = None
            elif action == "r":
                assert (disk.read(f"agent/{each}") is not None) == (each in model)
                if each in model:
                    del model[each]
                    model[each] = None
            elif action == "x":
                disk.remove(f"agent/{each}")
                model.pop(each, None)
            else:
                disk = store(folder, most)
                disk.refresh()
            assert len(files(folder)) == len(model)
            assert sum(path.stat().st_size for path in files(folder)) == disk.num_bytes <= most
        assert {key for key in "abcdefgh" if disk.read(f"agent/{key}")} == set(model)


def test_what_is_too_large_is_refused_and_evicts_nothing(tmp_path: Path) -> None:
    disk = store(tmp_path, 2 * SIZE)
    assert disk.write(snapshot("small"))
    assert not disk.write(snapshot("large", state=bytes(2 * SIZE)))
    assert disk.read("agent/small") is not None
    assert (disk.tally.failures, disk.tally.write_errors) == ({"too_large": 1}, 1)


def test_two_workers_share_a_folder_and_its_budget(tmp_path: Path) -> None:
    most = 3 * SIZE + SIZE // 2
    one, two = store(tmp_path, most), store(tmp_path, most)
    for number in range(3):
        assert one.write(snapshot(str(number)))
        assert two.write(snapshot(str(5 + number)))
        assert sum(path.stat().st_size for path in files(tmp_path)) <= most
    assert [len(files(tmp_path)), one.read("agent/0")] == [3, None]
    two.refresh()
    one.refresh()
    assert one.num_bytes == two.num_bytes
    assert same(one.read("agent/7"), snapshot("7"))
    two.write(snapshot("7", counting(0, 50)))
    assert same(one.read("agent/7"), snapshot("7", counting(0, 50)))


def test_files_that_vanish_are_missed_quietly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = store(tmp_path)
    for name in ("one", "two"):
        disk.write(snapshot(name))
    for path in files(tmp_path):
        path.unlink()
    with caplog.at_level(logging.DEBUG):
        assert disk.read("agent/one") is None
    assert disk.tally.failures == {"vanished": 1}
    assert [record.levelno for record in caplog.records] == [logging.DEBUG]
    disk.remove("agent/two")
    disk.set_aside("agent/one", "refused")
    assert disk.write(snapshot("three"))
    assert disk.num_bytes == files(tmp_path)[0].stat().st_size
    for path in (disk.folder, tmp_path):
        subprocess.run(["rm", "-r", str(path)], check=True)
    assert disk.write(snapshot("four"))


def test_an_abandoned_temporary_is_removed_and_one_in_use_is_not(tmp_path: Path) -> None:
    disk = store(tmp_path)
    disk.write(snapshot("one"))
    abandoned, used = disk.folder / ".a.1.tmp", disk.folder / ".b.2.tmp"
    abandoned.write_bytes(b"half")
    with used.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        store(tmp_path).refresh()
        assert files(tmp_path, "*.tmp") == [used]
    store(tmp_path).refresh()
    assert files(tmp_path, "*.tmp") == []


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "agents").write_text("mine")
    disk = store(tmp_path / "agents")
    disk.refresh()
    assert not disk.write(snapshot("one"))
    assert disk.read("agent/one") is None
    assert disk.tally.failures["not_a_folder"] == 2
    (tmp_path / "agents").unlink()
    assert disk.write(snapshot("one"))


@contextmanager
def closed_to_us(folder: Path) -> Iterator[None]:
    """Modes do not stop root; the immutable flag does."""
    lock, unlock = ("chmod", "500"), ("chmod", "700")
    if os.geteuid() == 0:
        lock, unlock = ("chattr", "+i"), ("chattr", "-i")
    if subprocess.run([*lock, str(folder)], capture_output=True).returncode:
        pytest.skip("this file system has no immutable flag")
    try:
        yield
    finally:
        subprocess.run([*unlock, str(folder)], check=True)


def test_a_folder_we_may_only_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = store(tmp_path)
    for name in ("one", "two"):
        disk.write(snapshot(name))
    two = disk.folder / next(p.name for p in files(tmp_path) if b"agent/two" in p.read_bytes())
    two.write_bytes(two.read_bytes()[:-1])
    with closed_to_us(disk.folder):
        disk = store(tmp_path)
        disk.refresh()
        assert same(disk.read("agent/one"), snapshot("one"))
        for name in ("three", "four", "five"):
            assert not disk.write(snapshot(name))
        disk.refresh()
        assert disk.tally.failures == {"truncated": 1, "permission": 4}
        assert disk.tally.write_errors == 3
        assert sum("permission" in line for line in caplog.messages) == 1
    assert disk.write(snapshot("three"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk needs the right to mount one: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = store(small_disk)
    (small_disk / "other").write_bytes(bytes(100_000))
    assert disk.write(snapshot("one", state=bytes(100_000)))
    for name in ("two", "one"):
        assert not disk.write(snapshot(name, state=bytes(200_000)))
    assert files(small_disk, "*.tmp") == []
    assert same(disk.read("agent/one"), snapshot("one", state=bytes(100_000)))
    assert disk.tally.failures == {"disk_full": 2}
    assert sum("disk_full" in line for line in caplog.messages) == 1
    (small_disk / "other").unlink()
    assert disk.write(snapshot("two", state=bytes(200_000)))


def test_on_a_full_disk_the_least_recently_used_make_room(small_disk: Path) -> None:
    disk = store(small_disk)
    for name in "abcdef":
        assert disk.write(snapshot(name, state=bytes(40_000)))
    assert disk.read("agent/a") is not None
    assert disk.write(snapshot("g", state=bytes(60_000)))
    kept = {name for name in "abcdefg" if disk.path(f"agent/{name}").exists()}
    assert kept == set("adefg")
    assert disk.tally.failures == {}


@pytest.mark.parametrize("refusals", [1, 2, 3])
def test_a_disk_that_stays_full_costs_few_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    disk, write, left = store(tmp_path), os.write, [refusals]
    for name in "abcdef":
        assert disk.write(snapshot(name))

    def refuse(handle: int, data: bytes) -> int:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, "no space left")
        return write(handle, data)

    monkeypatch.setattr(disk_files.os, "write", refuse)
    assert disk.write(snapshot("g")) == (refusals < 3)
    assert len(files(tmp_path)) == {1: 6, 2: 5, 3: 4}[refusals]
    assert files(tmp_path, ".*") == []
    assert disk.tally.failures == ({} if refusals < 3 else {"disk_full": 1})


def test_a_write_that_breaks_off_half_way_leaves_nothing(tmp_path: Path) -> None:
    disk = store(tmp_path)
    assert disk.write(snapshot("one", state=b"older"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        assert not disk.write(snapshot("one", state=bytes(100_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(files(tmp_path)) == 1
    assert files(tmp_path, ".*") == []
    assert same(disk.read("agent/one"), snapshot("one", state=b"older"))
    assert disk.tally.failures == {"disk_full": 1}


def test_the_fingerprint_holds_everything() -> None:
    changes: list[dict[str, object]] = [
        {"model_sha256": "c" * 64},
        {"llama_build": "b7001"},
        {"kv_type": "q4_0"},
        {"settings": {"n_ctx_train": 4096, "rope_freq_base": 2e4}},
        {"adapter": "lora"},
        {"format_version": 1},
    ]
    digests = {replace(FINGERPRINT, **change).digest for change in changes}
    assert len(digests | {FINGERPRINT.digest}) == 7
    reordered = replace(FINGERPRINT, settings=dict(reversed(FINGERPRINT.settings.items())))
    assert reordered.digest == FINGERPRINT.digest
