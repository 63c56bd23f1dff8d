"""`models download` as a process: killed, continued, and with a token that stays a secret."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.pool import FakePool
from tests.pool_core.download.kit import CONTENT, REPO
from tests.pool_ctl.conftest import Ask
from tests.rigs.hub import Hub, Repo

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with Hub([Repo(REPO, {"demo.gguf": CONTENT}, gated=True)]) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def register(ask: Ask) -> None:
    ask("models", "register", "demo", "--repo", REPO, "--file", "demo.gguf")


def test_a_killed_download_goes_on_where_it_was(
    ask: Ask, start: Start, hub: Hub, pool: FakePool
) -> None:
    register(ask)
    hub.bps = len(CONTENT) // 4
    env = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_good"}
    first = start("models", "download", "demo", "--json", env=env)
    assert first.stdout is not None
    while json.loads(first.stdout.readline()).get("done", 0) < len(CONTENT) // 4:
        pass
    first.kill()
    first.wait()
    (row,) = [row for row in ask("models", "list").data["models"] if row["id"] == "demo"]
    assert row["state"] == "partial" and 0 < row["bytes_here"] < len(CONTENT)
    assert ask("worker", "spawn", "cpu", "-m", "demo").error["remedy"].endswith("download demo")
    hub.bps = 0
    out, err = start("models", "download", "demo", "--json", env=env).communicate(timeout=60)
    data = json.loads(out.splitlines()[-1])["data"]
    assert data["resumed_from"] > 0
    assert data["bytes_fetched"] + data["resumed_from"] == len(CONTENT)
    assert data["sha256"] == hashlib.sha256(CONTENT).hexdigest()


def test_a_token_comes_with_the_request_and_is_written_nowhere(
    ask: Ask, hub: Hub, pool: FakePool
) -> None:
    register(ask)
    refused = ask("models", "download", "demo")
    assert refused.code == 1 and "token" in f"{refused.error}".lower()
    data = ask("models", "download", "demo", secrets={"hf_token": "hf_good"}).data
    assert Path(data["path"]).read_bytes() == CONTENT
    assert ask("models", "verify", "demo").data["pinned"] is True
    written = [path.read_bytes() for path in pool.home.data.rglob("*") if path.is_file()]
    assert not any(b"hf_good" in content for content in written)
    assert ask("models", "remove", "demo").data["bytes_freed"] == len(CONTENT)


def test_the_hub_of_the_configuration_is_asked(
    ask: Ask, hub: Hub, pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    pool.home.config_file.write_text(f'[hub]\nendpoint = "{hub.url}"\n')
    register(ask)
    assert ask("models", "download", "demo", secrets={"hf_token": "hf_good"}).code == 0


def test_interrupting_a_download_keeps_what_came(ask: Ask, start: Start, hub: Hub) -> None:
    register(ask)
    hub.bps = len(CONTENT) // 4
    env = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_good"}
    command = start("models", "download", "demo", "--json", env=env)
    assert command.stdout is not None
    while json.loads(command.stdout.readline()).get("done", 0) < len(CONTENT) // 4:
        pass
    command.send_signal(2)
    out, err = command.communicate(timeout=30)
    assert command.returncode == 130 and "Traceback" not in err
    (row,) = [row for row in ask("models", "list").data["models"] if row["id"] == "demo"]
    assert row["state"] == "partial"
