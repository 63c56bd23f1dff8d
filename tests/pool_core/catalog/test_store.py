from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from pool_core.catalog import Catalog, CatalogStore, ModelEntry, make_registration
from pool_core.catalog.reader import read_catalog
from pool_core.errors import ConfigError, UnknownName, UsageError
from pool_core.home import Home

DEMO = {"id": "demo", "repo": "acme/demo-GGUF", "file": "demo.gguf"}
SHA, COMMIT = "a" * 64, "b" * 40


def demo(**changes: Any) -> ModelEntry:
    return make_registration(DEMO | changes)


def test_a_registered_model_is_in_the_catalog(home: Home) -> None:
    CatalogStore(home).register(demo(aliases=["d"], name="", sha256=None, roles=[]))
    entry = Catalog.load(home).get("d")
    assert (entry.id, entry.source, entry.revision) == ("demo", "pool", "main")
    assert tomllib.loads(home.catalog_file.read_text()) == {
        "models": {
            "demo": {"name": "", "repo": "acme/demo-GGUF", "file": "demo.gguf", "aliases": ["d"]}
        }
    }


def test_registering_again_keeps_what_a_download_learned(home: Home) -> None:
    store = CatalogStore(home)
    store.register(demo())
    store.pin("demo", SHA, COMMIT, 9)
    again = store.register(demo(name="Demo"))
    assert (again.name, again.sha256, again.revision, again.size) == ("Demo", SHA, COMMIT, 9)
    moved = store.register(demo(revision="v2"))
    assert (moved.sha256, moved.revision, moved.size) == (None, "v2", None)


def test_an_id_is_not_given_to_other_files(home: Home) -> None:
    store = CatalogStore(home)
    store.register(demo())
    with pytest.raises(UsageError, match="already registered.*unregister demo"):
        store.register(demo(file="other.gguf"))
    assert Catalog.load(home).get("demo").file == "demo.gguf"


def test_a_name_that_means_another_model_is_refused(home: Home) -> None:
    with pytest.raises(UsageError, match='alias "qwen" already means "qwen2.5-0.5b"'):
        CatalogStore(home).register(demo(aliases=["qwen"]))
    assert not home.catalog_file.exists()


def test_pinning_a_shipped_model_copies_it_and_unregistering_brings_it_back(home: Home) -> None:
    store = CatalogStore(home)
    store.pin("gemma3-12b", SHA, COMMIT, 77)
    entry = Catalog.load(home).get("gemma3")
    assert (entry.source, entry.revision, entry.size, entry.roles) == (
        "pool", COMMIT, 77, ("primary", "longctx"),
    )  # fmt: skip
    store.unregister("gemma3")
    assert Catalog.load(home).get("gemma3").source == "shipped"


def test_unregistering_says_what_cannot_be_unregistered(home: Home) -> None:
    with pytest.raises(UsageError, match="ref-llama.*comes with llorch"):
        CatalogStore(home).unregister("ref-llama")
    with pytest.raises(UnknownName):
        CatalogStore(home).unregister("nothing-like-it")


def test_a_damaged_file_is_never_written_over(home: Home) -> None:
    home.catalog_file.parent.mkdir(parents=True)
    home.catalog_file.write_text("[models.demo\n")
    with pytest.raises(ConfigError, match="line 1"):
        CatalogStore(home).register(demo())
    assert home.catalog_file.read_text() == "[models.demo\n"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": "Bad Id"}, '"Bad Id" must be lower-case'),
        ({"file": "../x"}, '"file": "../x"'),
        ({"sha256": "12"}, "64 lower-case"),
        ({"repo": None}, 'needs "repo"'),
    ],
)
def test_a_wrong_value_on_the_command_line_is_one_line(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as refused:
        demo(**change)
    assert "\n" not in str(refused.value)


REGISTER = """
import sys
from pool_core.catalog import CatalogStore, make_registration
from pool_core.home import Home
for number in range(5):
    name = f"m{sys.argv[1]}-{number}"
    CatalogStore(Home.from_env()).register(
        make_registration({"id": name, "repo": "acme/x", "file": name + ".gguf"})
    )
"""


def test_processes_that_register_at_once_lose_nothing(home: Home) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", REGISTER, str(n)], env={"LLORCH_HOME": str(home.data)}
        )
        for n in range(3)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    mine = {entry.id for entry in Catalog.load(home).entries() if entry.source == "pool"}
    assert mine == {f"m{n}-{number}" for n in range(3) for number in range(5)}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
shas = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
positive = st.integers(1, 2**62)
entries = st.fixed_dictionaries(
    {"repo": st.just("acme/x"), "file": st.sampled_from(["a.gguf", "sub/b.gguf", "ü 1.gguf"])},
    optional={
        "name": texts,
        "revision": st.sampled_from(["main", "v1.0", "refs/pr/3", COMMIT]),
        "sha256": shas,
        "size": positive,
        "architecture": texts,
        "context_length": positive,
        "license": texts,
        "roles": st.lists(names, max_size=3),
    },
)


@settings(max_examples=60, deadline=None)
@given(models=st.dictionaries(names, entries, min_size=1, max_size=4))
def test_what_is_written_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, models: dict[str, dict[str, Any]]
) -> None:
    file = Path(tmp_path_factory.getbasetemp()) / "round-trip.toml"
    first = [make_registration({"id": name} | values) for name, values in models.items()]
    file.write_bytes(tomli_w.dumps({"models": {e.id: e.to_toml() for e in first}}).encode())
    second = read_catalog(file, "pool")
    assert [entry.to_dict() for entry in second] == [entry.to_dict() for entry in first]
