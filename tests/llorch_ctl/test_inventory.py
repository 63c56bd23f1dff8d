"""Reading pools.toml, and choosing pools."""

from __future__ import annotations

import pytest

from llorch_ctl.inventory import Inventory, Pool, check_command, check_name, check_target
from pool_core.errors import ConfigError, ExitCode, UnknownName, UsageError
from pool_core.home import Home

POOLS = """
[defaults]
connect_timeout = 3

[pools.mac]
ssh = "mac"
labels = ["metal", "quick"]

[pools.lab]
ssh = "me@10.0.0.7:2222"
identity_file = "~/.ssh/id_lab"
connect_timeout = 20

[pools.here]
ssh = "local"

[groups]
fast = ["mac", "local"]
"""


@pytest.fixture
def inventory(home: Home) -> Inventory:
    return written(home, POOLS)


def written(home: Home, text: str) -> Inventory:
    home.config.mkdir(parents=True, exist_ok=True)
    home.pools_file.write_text(text)
    return Inventory.load(home)


def names(pools: list[Pool]) -> list[str]:
    return [pool.name for pool in pools]


def test_without_a_file_there_is_only_this_machine(home: Home) -> None:
    inventory = Inventory.load(home)

    assert names(inventory.select()) == ["local"]
    assert names(inventory.select(every=True)) == ["local"]
    assert inventory.get("local").is_local


def test_pools_take_the_defaults_and_their_own_keys(inventory: Inventory) -> None:
    mac, lab = inventory.get("mac"), inventory.get("lab")

    assert (mac.ssh, mac.connect_timeout, mac.labels) == ("mac", 3.0, ("metal", "quick"))
    assert (lab.identity_file, lab.connect_timeout) == ("~/.ssh/id_lab", 20.0)
    assert inventory.get("here").is_local


def test_pools_groups_hosts_and_all_are_chosen_each_once(inventory: Inventory) -> None:
    assert names(inventory.select(["lab", "fast", "mac"])) == ["lab", "mac", "local"]
    assert names(inventory.select(every=True)) == ["mac", "lab", "here"]
    assert names(inventory.select(["mac"], ["me@box:2200"])) == ["mac", "me@box:2200"]


def test_an_ad_hoc_host_takes_the_defaults_and_is_named_by_its_target(
    inventory: Inventory,
) -> None:
    [pool] = inventory.select(hosts=["me@box"])

    assert (pool.ssh, pool.connect_timeout, pool.selector) == ("me@box", 3.0, "--host me@box")
    assert inventory.get("mac").selector == "mac"


def test_an_unknown_pool_names_the_nearest(inventory: Inventory) -> None:
    with pytest.raises(UnknownName, match='unknown pool "mc"; did you mean mac') as caught:
        inventory.select(["mc"])

    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[pools.mac]\nssh = 3", r"pools\.toml: \[pools\.mac\] \"ssh\" must be a string"),
        ("[pools.mac]\nlabels = []", r"\[pools\.mac\] needs a key \"ssh\""),
        ("[pools.mac]\nssh = 'm'\nidentityfile = 'x'", r"\"identityfile\"; did you mean \"identi"),
        ("[pools.Mac]\nssh = 'm'", r"\[pools\.Mac\] \"Mac\" cannot name a pool"),
        ("[pools.local]\nssh = 'm'", r"\[pools\.local\] the pool \"local\" is this machine"),
        ("[pools.mac]\nssh = '-oProxyCommand=x'", r"\"-oProxyCommand=x\" is not an SSH target"),
        ("[pools.mac]\nssh = 'm'\ncommand = 'a b'", r"\"a b\" cannot be the command"),
        ("[pools.mac]\nssh = 'm'\nlabels = 'x'", r"\"labels\" must be a list"),
        ("[defaults]\nconnect_timeout = 0", r"\[defaults\] \"connect_timeout\" must be a number"),
        ("[defaults]\nssh = 'm'", r"\[defaults\]: unknown key \"ssh\""),
        ("[groups]\ng = ['nobody']", r"\[groups\] \"g\" has the unknown pool \"nobody\""),
        ("[groups]\ng = 'mac'", r"\[groups\] \"g\" must be a list"),
        ("[pools.g]\nssh='m'\n[groups]\ng = ['g']", r"\"g\" is also the name of a pool"),
        ("[pool.mac]\nssh = 'm'", r"top level: unknown key \"pool\"; did you mean \"pools\""),
        ("pools = 3", r"\[pools\] must be a table"),
        ("[pools.mac]\nssh = mac\n", r"pools\.toml: .*line 2"),
    ],
)
def test_a_mistake_is_named_by_file_table_and_key(home: Home, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        written(home, text)

    assert str(home.pools_file) in str(caught.value)


@pytest.mark.parametrize("name", ["mac", "gpu-1", "0"])
def test_good_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "-mac", "Mac", "a b", "a.b", "a/b", "local", "mac\n"])
def test_bad_names(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name)


@pytest.mark.parametrize("target", ["mac", "me@10.0.0.7:22", "[::1]:22", "me@[fe80::1%eth0]:2"])
def test_good_targets(target: str) -> None:
    assert check_target(target) == target


@pytest.mark.parametrize("target", ["", "-v", "a b", "a;b", "$(id)", "a\nb", "me@host -p 3"])
def test_bad_targets(target: str) -> None:
    with pytest.raises(UsageError):
        check_target(target)


@pytest.mark.parametrize("path", ["a b", "x;y", "`id`", "$HOME/x", "a'b", ""])
def test_a_command_is_a_plain_path(path: str) -> None:
    assert check_command("~/llorch/bin/llorch-pool")
    with pytest.raises(UsageError):
        check_command(path)
