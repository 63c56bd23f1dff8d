"""`llorch-pool worker key …`, and the doors of the workers that it spawns."""

from __future__ import annotations

from pathlib import Path

from pool_core.api_keys import hash_key
from tests.fakes.pool import FakePool
from tests.pool_ctl.conftest import Ask


def test_a_key_is_shown_once_and_kept_as_a_hash(ask: Ask, pool: FakePool) -> None:
    key = ask("worker", "key", "add", "laptop").data["key"]
    file = pool.home.worker_keys
    assert file.read_text() == f"laptop:sha256:{hash_key(key)}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(key) > 40 and key != ask("worker", "key", "add", "phone").data["key"]
    listing = ask("worker", "key", "list").data
    assert listing == {"keys": [{"name": "laptop"}, {"name": "phone"}]}
    ask("worker", "key", "remove", "laptop")
    assert ask("worker", "key", "list").data == {"keys": [{"name": "phone"}]}


def test_names_are_told_apart(ask: Ask) -> None:
    ask("worker", "key", "add", "laptop")
    assert ask("worker", "key", "add", "laptop").code == 2
    assert ask("worker", "key", "add", "a:b").code == 2
    assert ask("worker", "key", "remove", "laptip").code == 2


def test_doors_reach_the_worker(ask: Ask, pool: FakePool) -> None:
    options = [
        "--keys",
        "--queue",
        "16",
        "--queue-order",
        "priority",
        "--cors",
        "https://a.example",
    ]
    options += ["--requests-per-minute", "60", "--key-tokens-per-minute", "9", "--cors", "http://b"]
    data = ask("worker", "spawn", "cpu", "-m", "ref-llama", *options, "--key-concurrency", "2").data
    argv = Path(f"/proc/{data['pid']}/cmdline").read_text().split("\0")
    given = list(zip(argv, argv[1:], strict=False))
    assert ("--keys", str(pool.home.worker_keys)) in given
    assert ("--queue", "16") in given and ("--queue-order", "priority") in given
    assert ("--requests-per-minute", "60") in given and ("--key-tokens-per-minute", "9") in given
    assert ("--key-concurrency", "2") in given and "--tokens-per-minute" not in argv
    assert [value for name, value in given if name == "--cors"] == ["https://a.example", "http://b"]
    assert data["token"], "the pool itself has to get in"
