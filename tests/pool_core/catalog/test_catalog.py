from __future__ import annotations

from pathlib import Path

import pytest

from pool_core.catalog import Catalog, ModelStatus, ModelStore, shipped_folder
from pool_core.errors import ConfigError, UnknownName
from pool_core.home import Home

GOOD = '[models.demo]\nrepo = "acme/demo-GGUF"\nfile = "demo.gguf"\n'
SHA = "a" * 64


def load(home: Home, text: str | bytes) -> Catalog:
    file = home.config / "mine.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Catalog.load(home, [file])


def test_shipped_models_are_pinned_and_named(home: Home) -> None:
    catalog = Catalog.load(home)
    wanted = {"tinyllama", "qwen2.5-0.5b", "phi3-mini-4k", "mistral-7b-v0.3", "gpt-oss-20b"}
    wanted |= {"deepseek-r1-7b", "qwen2.5-7b", "qwen3-8b", "qwen3-coder-30b-a3b", "phi4"}
    wanted |= {"llama3.2-3b", "phi3-medium-128k", "granite-8b-code", "gemma3-12b", "smollm2-135m"}
    wanted |= {"ref-llama", "ref-qwen2", "ref-phi3", "ref-mistral"}
    assert wanted <= {entry.id for entry in catalog.entries()}
    for entry in catalog.entries():
        assert entry.is_pinned, entry.id
        assert entry.license and entry.context_length and entry.architecture and entry.roles


@pytest.mark.parametrize(
    ("alias", "model"),
    [
        ("qwen", "qwen2.5-0.5b"),
        ("tinyllama", "tinyllama"),
        ("phi3", "phi3-mini-4k"),
        ("mistral", "mistral-7b-v0.3"),
        ("Qwen3-8B", "qwen3-8b"),
    ],
)
def test_short_names_and_any_case_find_their_model(home: Home, alias: str, model: str) -> None:
    assert Catalog.load(home).get(alias).id == model


def test_shipped_files_are_there_without_a_download(home: Home) -> None:
    store = ModelStore(home)
    entry = Catalog.load(home).get("ref-llama")
    assert store.state(entry).status is ModelStatus.SHIPPED
    assert store.require(entry) == shipped_folder() / "reference" / "ref-llama.gguf"


def test_an_unknown_name_comes_with_the_nearest(home: Home) -> None:
    with pytest.raises(UnknownName, match='unknown model "qwen2.5-0.5"; did you mean qwen2.5-0.5b'):
        Catalog.load(home).get("qwen2.5-0.5")


def test_a_later_layer_replaces_an_entry_with_its_aliases(home: Home) -> None:
    home.catalog_file.parent.mkdir(parents=True)
    home.catalog_file.write_text('[models.tinyllama]\nrepo = "acme/other"\nfile = "o.gguf"\n')
    catalog = Catalog.load(home)
    assert catalog.get("tinyllama").repo == "acme/other"
    assert catalog.find("tinyllama-1.1b") is None
    assert catalog.get("tinyllama").source == "pool"
    again = load(home, '[models.tinyllama]\nrepo = "acme/third"\nfile = "t.gguf"\n')
    assert again.get("tinyllama").repo == "acme/third"


def test_an_id_beats_an_alias(home: Home) -> None:
    catalog = load(home, GOOD + 'aliases = ["tinyllama", "qwen"]\n')
    assert catalog.get("tinyllama").id == "tinyllama"
    assert catalog.get("qwen").id == "demo"


def test_naming_the_first_shard_means_all(home: Home) -> None:
    entry = load(home, GOOD.replace("demo.gguf", "q/m-00001-of-00003.gguf")).get("demo")
    assert entry.filenames == tuple(f"q/m-0000{n}-of-00003.gguf" for n in (1, 2, 3))
    folder = home.models / "acme--demo-GGUF" / "main"
    assert ModelStore(home).paths(entry) == [folder / name for name in entry.filenames]


def test_a_digest_is_believed_of_files_that_only_llorch_writes(home: Home) -> None:
    assert len(Catalog.load(home).get("ref-llama").whole_sha256) == 64
    tables = f'{GOOD}sha256 = "{SHA}"\n[models.own]\npath = "/m/x.gguf"\nsha256 = "{SHA}"\n'
    catalog = load(home, tables)
    assert catalog.get("demo").whole_sha256 == SHA
    assert catalog.get("own").whole_sha256 == ""
    assert load(home, GOOD).get("demo").whole_sha256 == ""


def test_an_operators_own_file_may_be_anywhere(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(b"GGUF")
    entry = load(home, f'[models.mine]\npath = "{file}"\n').get("mine")
    assert ModelStore(home).require(entry) == file
    assert ModelStore(home).state(entry).status is ModelStatus.PRESENT


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + 'sha265 = "x"', r'\[models.demo\] unknown key "sha265"; did you mean "sha256"'),
        (GOOD + "zzz = 1", r'unknown key "zzz"; keys are: name, repo'),
        (GOOD + 'source = "shipped"', r'unknown key "source"'),
        (GOOD + 'size = "big"', r'"size" must be a whole number, not \'big\''),
        (GOOD + "size = 0", r'"size" must be more than 0'),
        (GOOD + "context_length = 1.5", r'"context_length" must be a whole number'),
        (GOOD + "name = 7", r'"name" must be text in quotes, not 7'),
        (GOOD + 'roles = "fast"', r'"roles" must be a list such as'),
        (GOOD + "roles = [1]", r'"roles" must be text in quotes'),
        (GOOD + 'sha256 = "abc"', r'"sha256": "abc" must be 64'),
        (GOOD + f'sha256 = "{SHA.upper()}"', r"64 lower-case"),
        (GOOD + "sha256 = 5", r'"sha256" must be 64 hexadecimal digits'),
        (GOOD + f'[models.demo.sha256]\n"x.gguf" = "{SHA}"', r"x.gguf, which is not one of its"),
        (GOOD + 'revision = "../up"', r'"revision": "../up" must be a branch'),
        (GOOD + 'revision = "-x"', r"must be a branch"),
        (GOOD + 'aliases = ["demo"]', r"must differ from the id"),
        (GOOD + 'aliases = ["a", "a"]', r"must differ from the id and from each other"),
        (GOOD + 'aliases = ["Über"]', r'"Über" must be lower-case'),
        (GOOD.replace("demo.gguf", "../../etc/passwd"), r'"file": .* without "." or ".."'),
        (GOOD.replace("demo.gguf", "/etc/passwd"), r'"file": .* inside the repository'),
        (GOOD.replace("demo.gguf", "a//b.gguf"), r'"file": .* plain path'),
        (GOOD.replace("demo.gguf", ""), r'"file": "" must be'),
        (GOOD.replace("acme/demo-GGUF", "acme"), r'"acme" must look like "owner/name"'),
        (GOOD.replace("acme/demo-GGUF", "../x"), r'"../x" must look like'),
        (GOOD + 'files = ["a.gguf"]', r'needs either "file" or "files"'),
        ('[models.demo]\nrepo = "a/b"', r'needs either "file" or "files"'),
        ("[models.demo]\n", r'needs "repo" and "file"'),
        ('[models.demo]\nrepo = "a/b"\nfiles = []', r'"files" must be a list with at least one'),
        ('[models.demo]\nrepo = "a/b"\nfiles = ["x", "x"]', r"names a file twice"),
        ('[models.demo]\nrepo = "a/b"\nfiles = ["p/x", "q/y"]', r"must be in one folder"),
        (f'[models.d]\nrepo = "a/b"\nfiles = ["x", "y"]\nsha256 = "{SHA}"', r"must be a table"),
        (GOOD + 'path = "x.gguf"', r'has a "path", so it cannot'),
        ('[models.demo]\npath = "../x.gguf"', r'"path" must be a plain path'),
        (GOOD.replace("models.demo", 'models."Demo X"'), r'"Demo X" must be lower-case'),
        (GOOD.replace("models.demo", 'models."../x"'), r'"../x" must be lower-case'),
        ("[models]\ndemo = 3", r"\[models.demo\] must be a table"),
        ("models = 3", r'"models" must be a table'),
        (GOOD + "[presets.x]\n", r"unknown table \[presets\]"),
        ("", r"no models in it"),
        ("# nothing\n", r"no models in it"),
        (GOOD + "size = \n", r"not TOML: .*line 4, column 8"),
        (GOOD + GOOD, r"not TOML: .*line 4"),
        (GOOD.encode() + b"name = '\xff'", r"line 4 is not UTF-8"),
        (
            GOOD + 'aliases = ["x"]\n' + GOOD.replace(".demo]", ".other]") + 'aliases = ["x"]',
            r'\[models.other\] alias "x" already means "demo"',
        ),
        (
            GOOD + GOOD.replace(".demo]", ".other]") + 'aliases = ["demo"]',
            r'\[models.other\] alias "demo" already means "demo"',
        ),
    ],
)
def test_a_mistake_is_one_line_with_file_table_and_key(
    home: Home, text: str | bytes, says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        load(home, text)
    assert str(refused.value).startswith(f"{home.config / 'mine.toml'}: ")
    assert "\n" not in str(refused.value)


def test_a_catalog_that_is_not_there_is_named(home: Home) -> None:
    with pytest.raises(ConfigError, match=r"gone.toml: no such catalog"):
        Catalog.load(home, [Path("gone.toml")])
