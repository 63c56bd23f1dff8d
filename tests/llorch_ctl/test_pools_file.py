"""Editing pools.toml without losing what a person wrote."""

from __future__ import annotations

import threading
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llorch_ctl.inventory import Inventory
from llorch_ctl.pools_file import add_pool, cut_table, remove_pool
from pool_core.errors import ConfigError, UnknownName, UsageError
from pool_core.home import Home

PERSONAL = """\
# My machines. Do not touch the order!

[defaults]
connect_timeout = 3   # the VPN is slow

[pools.mac]   # on the desk
ssh = "mac"
labels = [
    "metal",  # M2
    "[pools.fake]",
]

# The lab is off at night.
[pools.lab]
ssh = "lab"

[groups]
gpu = ["lab"]
"""


def write(home: Home, text: str) -> None:
    home.config.mkdir(parents=True, exist_ok=True)
    home.pools_file.write_text(text)


def test_adding_appends_and_keeps_every_byte_before(home: Home) -> None:
    write(home, PERSONAL)

    add_pool(home, "pi", {"ssh": "pi@10.0.0.9:2222", "labels": ["arm"]})

    text = home.pools_file.read_text()
    assert text.startswith(PERSONAL)
    assert Inventory.load(home).get("pi").labels == ("arm",)


def test_the_first_pool_makes_the_file(home: Home) -> None:
    add_pool(home, "mac", {"ssh": "mac"})

    assert home.pools_file.read_text() == '[pools.mac]\nssh = "mac"\n'


def test_removing_takes_exactly_the_table(home: Home) -> None:
    write(home, PERSONAL)

    remove_pool(home, "mac")

    start, end = PERSONAL.index("[pools.mac]"), PERSONAL.index("\n# The lab")
    assert home.pools_file.read_text() == PERSONAL[:start] + PERSONAL[end:]


def test_adding_and_removing_is_as_if_nothing_happened(home: Home) -> None:
    write(home, PERSONAL)

    add_pool(home, "pi", {"ssh": "pi"})
    remove_pool(home, "pi")

    assert home.pools_file.read_text().rstrip("\n") == PERSONAL.rstrip("\n")


def test_a_pool_in_a_group_is_not_removed(home: Home) -> None:
    write(home, PERSONAL)

    with pytest.raises(UsageError, match='"lab" is in the group "gpu"'):
        remove_pool(home, "lab")

    assert home.pools_file.read_text() == PERSONAL


@pytest.mark.parametrize("name", ["mac", "gpu", "local", "Mac"])
def test_names_that_cannot_be_added(home: Home, name: str) -> None:
    write(home, PERSONAL)

    with pytest.raises(UsageError):
        add_pool(home, name, {"ssh": "x"})

    assert home.pools_file.read_text() == PERSONAL


def test_removing_what_is_not_there_names_the_nearest(home: Home) -> None:
    write(home, PERSONAL)

    with pytest.raises(UnknownName, match="did you mean mac"):
        remove_pool(home, "mca")


@pytest.mark.parametrize(
    "text", ['pools = { mac = { ssh = "mac" } }\n', '[pools]\nmac = { ssh = "mac" }\n']
)
def test_a_file_in_another_style_is_refused_and_not_harmed(home: Home, text: str) -> None:
    write(home, text)

    with pytest.raises(ConfigError, match="cannot edit without harm; edit it yourself"):
        remove_pool(home, "mac")

    assert home.pools_file.read_text() == text


def test_a_broken_file_is_left_alone(home: Home) -> None:
    write(home, "[pools.mac\n")

    with pytest.raises(ConfigError, match="line 1"):
        add_pool(home, "pi", {"ssh": "pi"})

    assert home.pools_file.read_text() == "[pools.mac\n"


def test_a_link_stays_a_link(home: Home) -> None:
    home.config.mkdir(parents=True)
    real = home.config / "dotfiles.toml"
    real.write_text(PERSONAL)
    home.pools_file.symlink_to(real)

    add_pool(home, "pi", {"ssh": "pi"})

    assert home.pools_file.is_symlink()
    assert "[pools.pi]" in real.read_text()


def test_two_who_add_at_the_same_time_are_both_heard(home: Home) -> None:
    names = [f"pool-{number}" for number in range(8)]
    threads = [
        threading.Thread(target=add_pool, args=(home, name, {"ssh": name})) for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(Inventory.load(home).pools) == set(names)


_text = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=12)
_tables = st.dictionaries(
    st.from_regex(r"[a-z0-9][a-z0-9-]{0,6}", fullmatch=True),
    st.dictionaries(st.sampled_from(["ssh", "command", "note"]), _text | st.lists(_text)),
    min_size=1,
    max_size=4,
)


@given(tables=_tables, data=st.data())
def test_cutting_one_table_keeps_all_others(
    tables: dict[str, dict[str, object]], data: st.DataObject
) -> None:
    import tomli_w

    text = tomli_w.dumps({"pools": tables}, multiline_strings=True)
    name = data.draw(st.sampled_from(sorted(tables)))

    left = tomllib.loads(cut_table(text, name))

    assert left.get("pools", {}) == {key: tables[key] for key in tables if key != name}
