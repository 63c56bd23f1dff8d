from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pool_core.home import Home
from tests.pool_core.download.kit import CONTENT, REPO
from tests.rigs.hub import Hub, Repo


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.from_env({"LLORCH_HOME": str(tmp_path / "home")})


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub([Repo(REPO, {"demo.gguf": CONTENT, "README.md": b"# demo"})]) as hub:
        yield hub


@pytest.fixture(autouse=True)
def no_token_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
