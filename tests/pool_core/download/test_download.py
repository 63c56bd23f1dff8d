"""What a download leaves on disk and in the catalog, when nothing goes wrong on the way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pool_core.catalog import Catalog, ModelStatus, ModelStore
from pool_core.download import ChangedUpstream, DownloadSettings, Interrupted, Transport
from pool_core.events import Progress, Warning
from pool_core.home import Home
from tests.pool_core.download.kit import CONTENT, REPO, SHA256, Run, demo, leftovers, registered
from tests.rigs.gguf import LLAMA, Typed, make_model
from tests.rigs.hub import Fault, FaultKind, Hub, Repo


def test_a_first_download_pins_what_it_found(home: Home, hub: Hub) -> None:
    run = Run(home, hub)
    result = run.finish()
    commit = hub.repos[REPO].commit
    path = home.models / "acme--demo-GGUF" / commit / "demo.gguf"
    assert path.read_bytes() == CONTENT
    assert result == {
        "id": "demo",
        "path": str(path),
        "sha256": SHA256,
        "size": len(CONTENT),
        "revision": commit,
        "bytes_fetched": len(CONTENT),
        "resumed_from": 0,
    }
    entry = Catalog.load(home).get("demo")
    assert (entry.sha256, entry.revision, entry.size) == (SHA256, commit, len(CONTENT))
    assert ModelStore(home).require(entry) == path
    assert leftovers(home) == []


def test_progress_has_the_models_name_and_ends_at_its_size(home: Home, hub: Hub) -> None:
    run = Run(home, hub)
    run.finish()
    progress = run.of_type(Progress)
    assert {event.task for event in progress} == {"demo"}
    assert (progress[0].done, progress[-1].done) == (0, len(CONTENT))
    assert {event.total for event in progress} == {len(CONTENT)}


def test_a_model_that_is_here_asks_nobody(home: Home, hub: Hub) -> None:
    Run(home, hub).finish()
    asked = len(hub.exchanges)
    again = Run(home, hub, Catalog.load(home).get("demo")).finish()
    assert again["bytes_fetched"] == 0
    assert len(hub.exchanges) == asked


def test_the_endpoint_is_read_from_the_environment_when_it_is_used(
    home: Home, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    assert Run(home, hub, endpoint=None).finish()["size"] == len(CONTENT)


def test_an_entry_of_a_file_we_do_not_write_finds_its_model_by_a_link(home: Home, hub: Hub) -> None:
    mine = home.config / "mine.toml"
    mine.parent.mkdir(parents=True)
    mine.write_text(f'[models.mine]\nrepo = "{REPO}"\nfile = "demo.gguf"\n')
    entry = Catalog.load(home, [mine]).get("mine")
    Run(home, hub, entry).finish()
    assert not home.catalog_file.exists()
    assert ModelStore(home).state(entry).status is ModelStatus.PRESENT
    assert ModelStore(home).require(entry).resolve().parent.name == hub.repos[REPO].commit
    assert Run(home, hub, entry).finish()["bytes_fetched"] == 0


def test_another_entry_of_the_same_file_costs_no_transfer(home: Home, hub: Hub) -> None:
    Run(home, hub).finish()
    sent = hub.bytes_sent()
    result = Run(home, hub, registered(home, id="twin")).finish()
    assert (result["sha256"], result["bytes_fetched"]) == (SHA256, 0)
    assert hub.bytes_sent() == sent


def test_a_damaged_file_in_place_is_replaced(home: Home, hub: Hub) -> None:
    path = Path(Run(home, hub).finish()["path"])
    path.write_bytes(bytes(len(CONTENT)))
    Run(home, hub, registered(home, id="twin")).finish()
    assert path.read_bytes() == CONTENT


def test_force_keeps_the_old_file_until_the_new_one_is_whole(home: Home, hub: Hub) -> None:
    path = Path(Run(home, hub).finish()["path"])
    entry = Catalog.load(home).get("demo")
    hub.add(Fault(FaultKind.DROP, after=0, times=-1))
    with pytest.raises(Interrupted):
        Run(home, hub, entry, force=True).finish()
    assert path.read_bytes() == CONTENT
    hub.clear()
    assert Run(home, hub, entry, force=True).finish()["bytes_fetched"] == len(CONTENT)


def test_what_the_catalog_pins_is_refused_before_a_byte_when_the_hub_has_other(
    home: Home, hub: Hub
) -> None:
    with pytest.raises(ChangedUpstream, match="demo.gguf is not what the catalog pins"):
        Run(home, hub, demo(sha256="a" * 64)).finish()
    assert hub.bytes_sent() == 0


def test_a_split_model_has_a_row_for_each_shard(home: Home, hub: Hub) -> None:
    names = [f"big-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    for number, name in enumerate(names):
        split = {"split.no": Typed(4, number), "split.count": 3}
        facts = split | (LLAMA if number == 0 else {})
        hub.repos[REPO].files[name] = make_model(bytes([number]) * 50_000, facts)
    run = Run(home, hub, registered(home, file=names[0]))
    result = run.finish()
    assert {event.task for event in run.of_type(Progress)} == {"demo 1/3", "demo 2/3", "demo 3/3"}
    assert set(result["sha256"]) == set(names)
    entry = Catalog.load(home).get("demo")
    assert entry.is_pinned and entry.size == result["size"]
    assert [path.is_file() for path in ModelStore(home).paths(entry)] == [True] * 3


def test_a_file_that_is_no_model_is_fetched_with_a_warning(home: Home, hub: Hub) -> None:
    run = Run(home, hub, registered(home, file="README.md"))
    run.finish()
    assert [event.code for event in run.of_type(Warning)] == ["E_GGUF"]


def test_a_shipped_model_needs_no_download(home: Home, hub: Hub) -> None:
    assert Run(home, hub, Catalog.load(home).get("ref-llama")).finish()["bytes_fetched"] == 0
    assert hub.exchanges == []


def test_the_library_can_do_the_transfer(home: Home, hub: Hub) -> None:
    run = Run(home, hub, settings=DownloadSettings(transport=Transport.XET))
    result = run.finish()
    assert (result["sha256"], result["size"]) == (SHA256, len(CONTENT))
    assert sorted(p.name for p in Path(result["path"]).parent.iterdir()) == ["demo.gguf"]


def test_the_library_is_imported_only_to_fetch(home: Home, hub: Hub) -> None:
    Run(home, hub).finish()
    probe = (
        "import sys; from pool_core.home import Home; from pool_core.catalog import Catalog;"
        "from pool_core.download import download; h = Home.from_env();"
        "list(download(Catalog.load(h).get('demo'), h)); print('huggingface_hub' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env={"LLORCH_HOME": str(home.data)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False"]


def test_a_repository_with_one_more_file_has_another_commit_and_the_same_model(
    home: Home, hub: Hub
) -> None:
    first = Run(home, hub).finish()
    hub.repos[REPO] = Repo(REPO, hub.repos[REPO].files | {"new.txt": b"x"})
    second = Run(home, hub, registered(home, id="later")).finish()
    assert second["revision"] != first["revision"]
    assert second["path"] != first["path"]
