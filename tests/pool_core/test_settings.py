from __future__ import annotations

from pathlib import Path

import pytest

from pool_core.errors import ConfigError
from pool_core.settings import Settings


def load(folder: Path, text: str) -> Settings:
    file = folder / "config.toml"
    file.write_text(text)
    return Settings.load(file)


def test_no_file_means_defaults(tmp_path: Path) -> None:
    assert Settings.load(tmp_path / "config.toml") == Settings()


def test_what_is_written_replaces_the_default(tmp_path: Path) -> None:
    settings = load(
        tmp_path, '[worker]\nctx = 4096\n[spawn]\nstall_s = 5\n[hub]\nendpoint="http://x"'
    )
    assert settings.worker.ctx == 4096 and settings.worker.slots == Settings().worker.slots
    assert settings.spawn.stall_s == 5.0
    assert settings.hub.endpoint == "http://x"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[wrker]\nctx = 1", ["unknown table [wrker]", "worker"]),
        ("[worker]\ncontext = 1", ["[worker]", "unknown key context", "ctx"]),
        ('[worker]\nctx = "many"', ["[worker] ctx", "an integer", "many"]),
        ("[worker]\nctx = true", ["[worker] ctx", "an integer"]),
        ("[worker]\nctx = -1", ["[worker] ctx", "negative"]),
        ("worker = 3", ["worker must be a table"]),
        ("[worker\n", ["config.toml", "line 1"]),
    ],
)
def test_a_mistake_is_named_by_file_table_and_key(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as failure:
        load(tmp_path, text)
    said = str(failure.value)
    assert str(tmp_path / "config.toml") in said
    assert all(word in said for word in words), said
