"""What a worker keeps outside its context, and what becomes of it when the folder is of no use."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import pytest

from worker.engine.runner import ModelInfo
from worker.keeping import Keeping, ModelDigest, hash_model, open_keeping
from worker.settings import WorkerSettings

INFO = ModelInfo(architecture="fake", build="fake 1", device="CPU")


def keeping(model: Path, **settings: Any) -> Keeping:
    made = WorkerSettings(model, "m", **{"backend": "cpu", "ram_cache": 1 << 20, **settings})
    return open_keeping(made, INFO, ModelDigest(made))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"weights")
    return path


def test_without_a_folder_only_ram_is_used_and_no_model_is_read(tmp_path: Path) -> None:
    kept = keeping(tmp_path / "nothing.gguf")
    stats = kept.archive.stats()
    kept.archive.close()
    assert (stats.warm_limit, stats.cold_limit, kept.disk_problem) == (1 << 20, 0, "")


def test_a_folder_is_made_for_its_owner_only(tmp_path: Path, model: Path) -> None:
    agents = tmp_path / "home" / "agents"
    kept = keeping(model, agents=agents, disk_cache=1 << 30)
    stats = kept.archive.stats()
    kept.archive.close()
    assert (stats.cold_limit, kept.disk_problem) == (1 << 30, "")
    assert agents.stat().st_mode & 0o777 == 0o700
    assert list(agents.iterdir()) == []


def test_a_folder_of_no_use_is_said_once_and_ram_remains(
    tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    kept = keeping(model, agents=tmp_path / "file" / "agents")
    stats = kept.archive.stats()
    kept.archive.close()
    assert (stats.warm_limit, stats.cold_limit) == (1 << 20, 0)
    assert str(tmp_path / "file") in kept.disk_problem
    (line,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert kept.disk_problem in line.getMessage()


def test_a_model_that_cannot_be_read_is_no_reason_to_fail(tmp_path: Path) -> None:
    kept = keeping(tmp_path / "gone.gguf", agents=tmp_path / "agents")
    kept.archive.close()
    assert "gone.gguf" in kept.disk_problem


def test_a_digest_that_was_given_is_believed(model: Path) -> None:
    given = WorkerSettings(model, "m", "cpu", agents=Path("/a"), model_sha256="ab" * 32)
    assert ModelDigest(given).result() == "ab" * 32
    asked = WorkerSettings(model, "m", "cpu", agents=Path("/a"))
    assert ModelDigest(asked).result() == hashlib.sha256(b"weights").hexdigest()


def test_every_shard_of_a_split_model_counts(tmp_path: Path) -> None:
    first, second = (tmp_path / f"m-0000{n}-of-00002.gguf" for n in (1, 2))
    first.write_bytes(b"a")
    second.write_bytes(b"b")
    before = hash_model(first)
    second.write_bytes(b"c")
    assert hash_model(first) != before
