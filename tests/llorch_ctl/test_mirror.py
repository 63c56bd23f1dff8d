"""`llorch pool …` is `llorch-pool …`, asked from afar."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any, get_args, get_origin

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner
from typer.utils import get_params_from_function

from llorch_ctl.app import app as llorch_app
from llorch_ctl.inventory import THIS_MACHINE, Pool
from llorch_ctl.mirror import (
    Param,
    Path,
    Request,
    aimed_at,
    from_afar,
    mirror,
    name_of,
    paths_of,
    spell,
)
from pool_ctl.app import app as pool_app

PATHS = paths_of(pool_app)
POOL_TREE: Any = typer.main.get_command(pool_app)
LLORCH_TREE: Any = typer.main.get_command(llorch_app)


def at(tree: Any, path: Path) -> Any:
    for word in path:
        tree = tree.commands[word]
    return tree


def types_at(path: Path) -> dict[str, Any]:
    """The parameters of a command of llorch-pool by name, with their Python types."""
    source: typer.Typer = pool_app
    for word in path[:-1]:
        [group] = [item for item in source.registered_groups if item.name == word]
        assert group.typer_instance is not None
        source = group.typer_instance
    [info] = [item for item in source.registered_commands if name_of(item) == path[-1]]
    assert info.callback is not None
    found = get_params_from_function(info.callback)
    return {
        name: meta.annotation
        for name, meta in found.items()
        if meta.annotation is not typer.Context and name != "json_lines"
    }


def test_every_command_is_there() -> None:
    assert ("worker", "spawn") in PATHS and ("doctor",) in PATHS
    assert ("stdio",) not in PATHS
    for path in PATHS:
        assert at(LLORCH_TREE, ("pool", *path)).callback


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_a_mirrored_command_has_the_same_parameters_and_says_where(path: Path) -> None:
    own = {tuple(item.opts) for item in at(POOL_TREE, path).params}
    twin = {tuple(item.opts) for item in at(LLORCH_TREE, ("pool", *path)).params}

    assert twin - own == {("--pool", "-p"), ("--host",), ("--all",)}
    assert own <= twin


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_its_help_reads_as_if_written_for_it(path: Path) -> None:
    shown = CliRunner().invoke(llorch_app, ["pool", *path, "--help"])

    assert shown.exit_code == 0
    assert "llorch-pool" not in shown.output
    assert "--pool" in shown.output and "--json" in shown.output


def values_of(annotation: Any, required: bool) -> st.SearchStrategy[Any]:
    """Something that may stand on a command line for a parameter of this type."""
    kinds = set(get_args(annotation) or (annotation,)) - {type(None)}
    [kind] = kinds
    if get_origin(kind) is list:
        [inner] = get_args(kind)
        return st.none() | st.lists(SIMPLE[inner], min_size=1, max_size=3)
    return SIMPLE[kind] if required else st.none() | SIMPLE[kind]


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(0, 200),
    float: st.floats(0, 100),
    str: TEXTS,
    FilePath: TEXTS.filter(bool).map(FilePath),
}


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
@settings(max_examples=30)
@given(data=st.data())
def test_the_argv_parses_back_to_the_same_values(path: Path, data: st.DataObject) -> None:
    command, types = at(POOL_TREE, path), types_at(path)
    params = [item for item in command.params if item.name in types]
    values = {
        item.name: data.draw(values_of(types[item.name], item.required), label=item.name)
        for item in params
    }

    argv = spell([Param.of(item) for item in params], values)

    parsed = command.make_context("x", list(argv)).params
    for item in params:
        wanted = item.default if values[item.name] is None else values[item.name]
        assert normal(parsed[item.name]) == normal(wanted), argv


def normal(value: Any) -> Any:
    """What typer hands to a command, whatever it kept it as."""
    if isinstance(value, list | tuple):
        return [normal(item) for item in value] or None
    return value


def test_calling_one_runs_what_was_typed() -> None:
    seen: list[Request] = []
    twin = typer.Typer()
    mirror(pool_app, twin, lambda ctx, request: seen.append(request))
    line = "worker spawn cpu --model -x --ctx 4096 --port 0 --token --pool mac -p lab --host me@box"

    result = CliRunner().invoke(twin, line.split())

    assert result.exit_code == 0, result.output
    [request] = seen
    assert request.path == ("worker", "spawn")
    assert request.argv == ("--model", "-x", "--ctx", "4096", "--token", "--", "cpu")
    assert (request.pools, request.hosts, request.all_pools) == (("mac", "lab"), ("me@box",), False)


def test_bad_arguments_are_refused_here_before_any_pool_is_asked() -> None:
    seen: list[Request] = []
    twin = typer.Typer()
    mirror(pool_app, twin, lambda ctx, request: seen.append(request))

    result = CliRunner().invoke(twin, ["worker", "spawn", "cpu", "-m", "x", "--ctx", "many"])

    assert result.exit_code == 2
    assert seen == []


def test_words_about_this_machine_are_about_the_pool() -> None:
    text = "This machine in numbers. See: llorch-pool worker list"

    assert from_afar(text) == "The pool in numbers. See: llorch pool worker list"


@pytest.mark.parametrize(
    ("remedy", "aimed"),
    [
        (
            "llorch-pool models download qwen",
            "llorch pool models download --pool mac qwen",
        ),
        (
            "run llorch-pool doctor to see why",
            "run llorch pool doctor --pool mac to see why",
        ),
        (
            "llorch-pool worker stop-all, then llorch-pool worker list",
            "llorch pool worker stop-all --pool mac, then llorch pool worker list --pool mac",
        ),
        ("install llorch-pool there", "install llorch-pool there"),
    ],
)
def test_a_remedy_of_a_pool_can_be_typed_here(remedy: str, aimed: str) -> None:
    assert aimed_at(remedy, Pool("mac", "mac")) == aimed
    assert aimed_at(remedy, THIS_MACHINE) == remedy
    ad_hoc = Pool("me@box", "me@box", is_listed=False)
    assert aimed_at(remedy, ad_hoc) == aimed.replace("--pool mac", "--host me@box")
