"""What waiting does not help: each its own error, with what to do."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pool_core.catalog import Catalog
from pool_core.download import (
    DownloadError,
    FileNotInRepo,
    Gated,
    Offline,
    RepoNotFound,
    RevisionNotFound,
    TokenRefused,
)
from pool_core.errors import DiskFull, PermissionRefused
from pool_core.home import Home
from tests.pool_core.download.kit import CONTENT, HASTY, REPO, SHA256, Run, demo, leftovers
from tests.rigs.hub import Hub


def test_a_gated_model_names_its_page(home: Home, hub: Hub) -> None:
    hub.repos[REPO].gated = True
    with pytest.raises(Gated, match=f"accept its terms at {hub.url}/{REPO}, then hf auth login"):
        Run(home, hub).finish()
    assert Run(home, hub, demo(), token="hf_good").finish()["sha256"] == SHA256


def test_a_private_model_wants_a_token(home: Home, hub: Hub) -> None:
    hub.repos[REPO].private = True
    with pytest.raises(RepoNotFound, match="does not exist on the hub, or is private"):
        Run(home, hub).finish()
    assert Run(home, hub, demo(), token="hf_good").finish()["sha256"] == SHA256


def test_a_token_from_the_environment_is_used(
    home: Home, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos[REPO].private = True
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert Run(home, hub).finish()["sha256"] == SHA256


def test_a_bad_token_is_said_without_saying_it(home: Home, hub: Hub) -> None:
    with pytest.raises(TokenRefused, match="hf auth login") as refused:
        Run(home, hub, token="hf_secret").finish()
    assert "hf_secret" not in str(refused.value)


def test_an_unknown_repository_revision_or_file(home: Home, hub: Hub) -> None:
    with pytest.raises(RepoNotFound, match="acme/nothing"):
        Run(home, hub, demo(repo="acme/nothing")).finish()
    with pytest.raises(RevisionNotFound, match='has no revision "v9"'):
        Run(home, hub, demo(revision="v9")).finish()
    with pytest.raises(FileNotInRepo, match='no file "demo-q4.gguf"; did you mean demo.gguf'):
        Run(home, hub, demo(file="demo-q4.gguf")).finish()


def test_offline_is_respected(home: Home, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Offline, match="HF_HUB_OFFLINE is set"):
        Run(home, hub).finish()


@pytest.mark.parametrize("endpoint", ["hub.example", "ftp://hub.example", "http://"])
def test_an_endpoint_that_is_no_address(home: Home, hub: Hub, endpoint: str) -> None:
    with pytest.raises(DownloadError, match="check HF_ENDPOINT"):
        Run(home, hub, endpoint=endpoint).finish()


def test_a_web_server_that_is_no_hub(home: Home, hub: Hub) -> None:
    with pytest.raises(DownloadError) as refused:
        Run(home, hub, endpoint=hub.cdn_url).finish()
    assert "\n" not in str(refused.value)


def test_space_is_checked_before_a_byte(home: Home, hub: Hub) -> None:
    greedy = replace(HASTY, spare_space=1 << 60)
    with pytest.raises(DiskFull, match="demo needs .* free some space") as refused:
        Run(home, hub, settings=greedy).finish()
    assert refused.value.details["needed"] == len(CONTENT) + (1 << 60)
    assert 0 < refused.value.details["available"] < 1 << 60
    assert hub.bytes_sent() == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk needs the right to mount one: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_meanwhile_keeps_what_is_there(small_disk: Path, hub: Hub) -> None:
    home = Home.from_env({"LLORCH_HOME": str(small_disk)})
    with pytest.raises(DiskFull):
        Run(home, hub).finish()
    unaware = replace(HASTY, spare_space=-10_000_000)
    with pytest.raises(DiskFull, match="no space left for .*free some space and run it again"):
        Run(home, hub, Catalog.load(home).get("demo"), settings=unaware).finish()
    assert leftovers(home) == ["demo.gguf.part", "demo.gguf.part.json"]
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    result = Run(home, hub, Catalog.load(home).get("demo"), settings=unaware).finish()
    assert result["sha256"] == SHA256
    assert result["resumed_from"] > 1_000_000


@contextmanager
def closed_to_us(folder: Path) -> Iterator[None]:
    """Modes do not stop root; the immutable flag does."""
    lock, unlock = ("chmod", "500"), ("chmod", "700")
    if os.geteuid() == 0:
        lock, unlock = ("chattr", "+i"), ("chattr", "-i")
    subprocess.run([*lock, str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run([*unlock, str(folder)], check=True)


def test_a_folder_that_is_not_ours(home: Home, hub: Hub) -> None:
    home.models.mkdir(parents=True)
    with (
        closed_to_us(home.models),
        pytest.raises(PermissionRefused, match=str(home.models)),
    ):
        Run(home, hub).finish()
