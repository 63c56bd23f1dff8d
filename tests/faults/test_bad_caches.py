"""Caches that are damaged, of others, or cannot be kept: a right answer, a reason, a log line."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.miniature import Messages, ask
from tests.rigs.http import call
from tests.rigs.worker import WorkerProcess

QUESTION = "What is the capital of France?"
TALK: Messages = [
    {"role": "user", "content": "Say river stone cloud"},
    {"role": "assistant", "content": "river stone cloud"},
]


def turn(worker: WorkerProcess, question: str = QUESTION, times: int = 12) -> Any:
    """A turn of anna's, after some talk."""
    messages = [*TALK * times, {"role": "user", "content": question}]
    return ask(worker.url, messages, agent="anna")


def content(answer: Any) -> str:
    return str(answer["choices"][0]["message"]["content"])


def cached(answer: Any) -> int:
    return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])


def failures(worker: WorkerProcess) -> dict[str, int]:
    found: dict[str, int] = call(worker.url, "/health").json()["cache"]["failures"]
    return found


def serving(folder: Path, *options: str) -> WorkerProcess:
    return WorkerProcess("--agents", str(folder), *options).wait_ready()


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The file of an agent that a worker kept when it was stopped."""
    with serving(tmp_path) as worker:
        turn(worker)
    (file,) = tmp_path.glob("*/*.kv")
    return file


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1000] ^= 1
    file.write_bytes(data)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1000])


def change_version(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[8] ^= 0x40
    file.write_bytes(data)


def replace_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def take_another_models(file: Path) -> None:
    other = file.parent.parent / "other"
    with WorkerProcess("--agents", str(other), model="ref-qwen2").wait_ready() as worker:
        body = {"model": "ref-qwen2", "messages": TALK[:1], "session_id": "anna"}
        assert call(worker.url, "/v1/chat/completions", body | {"max_tokens": 8}).status == 200
    (theirs,) = other.glob("*/*.kv")
    shutil.copy(theirs, file)
    shutil.rmtree(other)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip, "checksum"),
        (truncate, "truncated"),
        (change_version, "version"),
        (replace_by_folder, "unreadable"),
        (take_another_models, "fingerprint"),
    ],
)
def test_a_file_that_is_no_good_costs_only_its_time(
    kept: Path, damage: Callable[[Path], None], reason: str
) -> None:
    damage(kept)
    with serving(kept.parent.parent) as worker:
        answer = turn(worker)
        assert (content(answer), cached(answer)) == ("Paris.", 0)
        assert failures(worker) == {reason: 1}
        assert reason in worker.log
        assert cached(turn(worker)) > 0  # and it is kept anew
    with serving(kept.parent.parent) as worker:
        assert cached(turn(worker)) > 0
        assert failures(worker) == {}


def test_a_good_file_is_used(kept: Path) -> None:
    with serving(kept.parent.parent) as worker:
        answer = turn(worker)
        assert content(answer) == "Paris."
        assert answer["usage"]["prompt_tokens"] - cached(answer) == 1
        assert failures(worker) == {}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_costs_nobody_an_answer(small_disk: Path) -> None:
    with serving(small_disk, "--ctx", "1024", "--ram-cache", "1K") as worker:
        for question in (QUESTION, "What is 17 + 25?", QUESTION):
            answer = turn(worker, question)
        assert content(answer) == "Paris."
        worker.process.terminate()
        assert worker.wait_exit() == 0
        assert "disk" in worker.log


def test_a_folder_that_cannot_be_used_leaves_ram(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with serving(tmp_path / "file") as worker:
        assert content(turn(worker)) == "Paris."
        assert cached(turn(worker)) > 0
        cache = call(worker.url, "/health").json()["cache"]
        assert cache["disk_problem"] or cache["failures"]
