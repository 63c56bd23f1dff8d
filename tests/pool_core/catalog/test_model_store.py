from __future__ import annotations

from pathlib import Path

import pytest

from pool_core.catalog import (
    Catalog,
    ChecksumMismatch,
    Locked,
    ModelEntry,
    ModelNotDownloaded,
    ModelStatus,
    ModelStore,
    make_registration,
)
from pool_core.catalog.file_lock import hold
from pool_core.errors import UsageError
from pool_core.events import Warning
from pool_core.gguf import HeaderError
from pool_core.home import Home
from tests.fakes.pool import finish
from tests.rigs.gguf import make_model

MODEL = make_model(bytes(5000))
COMMIT = "c" * 40


def entry_of(**changes: object) -> ModelEntry:
    base = {"id": "demo", "repo": "acme/demo", "file": "demo.gguf", "revision": COMMIT}
    return make_registration(base | changes)


def put(store: ModelStore, entry: ModelEntry, data: bytes = MODEL) -> Path:
    path = store.path(entry)
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return path


def test_two_revisions_are_kept_apart(home: Home) -> None:
    store = ModelStore(home)
    assert store.path(entry_of()) == home.models / "acme--demo" / COMMIT / "demo.gguf"
    assert store.path(entry_of(revision="refs/pr/1")).parent.name == "refs--pr--1"


def test_a_missing_model_names_the_command_that_downloads_it(home: Home) -> None:
    with pytest.raises(ModelNotDownloaded, match="llorch-pool models download demo"):
        ModelStore(home).require(entry_of())


def test_state_counts_what_an_unfinished_download_has(home: Home) -> None:
    store, entry = ModelStore(home), entry_of()
    assert store.state(entry).status is ModelStatus.MISSING
    path = put(store, entry)
    path.rename(path.with_name("demo.gguf.part"))
    assert store.state(entry).status is ModelStatus.PARTIAL
    assert store.state(entry).bytes_here == len(MODEL)


def test_verify_reads_every_byte(home: Home) -> None:
    store, entry = ModelStore(home), entry_of()
    path = put(store, entry)
    events, found = finish(store.verify(entry))
    assert found["size"] == len(MODEL) and not found["pinned"]
    assert any(isinstance(event, Warning) for event in events)
    pinned = entry_of(sha256=found["sha256"])
    assert finish(store.verify(pinned))[1]["pinned"]
    path.write_bytes(MODEL[:-1] + b"x")
    with pytest.raises(ChecksumMismatch, match="download demo --force"):
        finish(store.verify(pinned))
    path.write_bytes(b"no model")
    with pytest.raises(HeaderError):
        finish(store.verify(entry))


def test_the_reference_models_verify(home: Home) -> None:
    catalog = Catalog.load(home)
    for name in ("ref-llama", "ref-qwen2", "ref-phi3", "ref-mistral"):
        assert finish(ModelStore(home).verify(catalog.get(name)))[1]["pinned"]


def test_remove_takes_the_file_its_links_and_its_leftovers(home: Home) -> None:
    store, entry = ModelStore(home), entry_of()
    path = put(store, entry)
    path.with_name("demo.gguf.part").write_bytes(b"x" * 10)
    link = store.path(entry_of(revision="main"))
    link.parent.mkdir()
    link.symlink_to(f"../{COMMIT}/demo.gguf")
    other = put(store, entry_of(repo="acme/other"))
    gone = store.remove(entry_of(revision="main"))
    assert gone["bytes_freed"] == len(MODEL)
    assert not path.exists() and not link.is_symlink()
    store.remove(entry)
    assert sorted(p.name for p in (home.models / "acme--demo").iterdir()) == [".locks"]
    assert other.exists()


def test_what_llorch_did_not_download_is_left_alone(home: Home, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ref-llama was not downloaded"):
        ModelStore(home).remove(Catalog.load(home).get("ref-llama"))
    mine = tmp_path / "mine.gguf"
    mine.touch()
    with pytest.raises(UsageError, match="unregister mine"):
        ModelStore(home).remove(make_registration({"id": "mine", "path": str(mine)}))
    assert mine.exists()


def test_a_model_that_is_being_downloaded_is_not_removed(home: Home) -> None:
    store, entry = ModelStore(home), entry_of()
    path = put(store, entry)
    with (
        hold(store.lock_file(entry, "demo.gguf"), "demo"),
        pytest.raises(Locked, match="process"),
    ):
        store.remove(entry)
    assert path.exists()
