"""~/.ssh/config is read as `ssh` reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from llorch_ctl.inventory import Pool
from llorch_ctl.ssh import resolve
from llorch_ctl.ssh.resolve import resolve_route
from llorch_ctl.ssh.target import Address, Target
from pool_core.errors import ConfigError, UsageError


@pytest.fixture(autouse=True)
def fresh_cache() -> None:
    resolve._resolve.cache_clear()


def config(tmp_path: Path, text: str) -> str:
    file = tmp_path / "ssh_config"
    file.write_text(text)
    return str(file)


def last(pool: Pool) -> Target:
    return resolve_route(pool)[-1]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("mac", Address("mac")),
        ("me@mac", Address("mac", "me")),
        ("me@mac:2222", Address("mac", "me", 2222)),
        ("[::1]:2222", Address("::1", None, 2222)),
        ("me@[::1]", Address("::1", "me")),
        ("fe80::1", Address("fe80::1")),
        ("me@corp@host", Address("host", "me@corp")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert Address.parse(text) == address


@pytest.mark.parametrize("text", ["", "me@", "host:", "host:0", "host:70000", "host:x", "[]:22"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError):
        Address.parse(text)


def test_an_alias_takes_all_from_the_configuration(tmp_path: Path) -> None:
    text = f"""
    Host mac
        HostName 10.0.0.5
        Port 2200
        User maker
        IdentityFile {tmp_path}/id_%h
        IdentitiesOnly yes
        IdentityAgent none
        UserKnownHostsFile {tmp_path}/one {tmp_path}/two
        HostKeyAlias the-mac
    """
    target = last(Pool("mac", "mac", ssh_config=config(tmp_path, text)))

    assert (target.hostname, target.port, target.user) == ("10.0.0.5", 2200, "maker")
    assert target.identity_files == (tmp_path / "id_10.0.0.5",)
    assert target.identities_only and target.identity_agent == "none"
    assert target.known_hosts[:2] == (tmp_path / "one", tmp_path / "two")
    assert target.known_as == "the-mac"


def test_include_and_match_work_where_paramiko_would_not(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("Host mac\n  HostName included.lan\n")
    text = f"""
    Include {tmp_path}/more
    Match exec "false"
        User stranger
    Match host *.lan exec "true"
        User friend
    """
    target = last(Pool("mac", "mac", ssh_config=config(tmp_path, text)))

    assert (target.hostname, target.user) == ("included.lan", "friend")


def test_user_and_port_of_the_target_win(tmp_path: Path) -> None:
    file = config(tmp_path, "Host mac\n  User a\n  Port 1\n  HostName m\n")

    target = last(Pool("mac", "me@mac:2222", ssh_config=file))

    assert (target.user, target.port, target.known_as) == ("me", 2222, "[m]:2222")


def test_a_pools_own_keys_win(tmp_path: Path) -> None:
    file = config(tmp_path, "Host *\n  IdentityFile /x/other\n  ProxyCommand nc %h %p\n")
    pool = Pool(
        "mac", "mac", ssh_config=file, identity_file="~/k", known_hosts="/x/kh", proxy_jump="b"
    )

    bastion, target = resolve_route(pool)

    assert target.identity_files == (Path("~/k").expanduser(),) and target.identities_only
    assert target.known_hosts == bastion.known_hosts == (Path("/x/kh"),)
    assert target.proxy_command is None
    assert bastion.identity_files == (Path("/x/other"),)


def test_jumps_are_resolved_one_by_one(tmp_path: Path) -> None:
    text = """
    Host inner
        ProxyJump outer,me@middle:2201
    Host outer
        HostName outer.example
        ProxyJump gate
    Host gate
        User guard
    Host middle
        ProxyJump nowhere
    """
    route = resolve_route(Pool("deep", "inner", ssh_config=config(tmp_path, text)))

    places = [(hop.label, hop.place) for hop in route]
    assert places == [
        ("gate", "gate:22"),
        ("outer", "outer.example:22"),
        ("me@middle:2201", "middle:2201"),
        ("deep", "inner:22"),
    ]
    assert route[0].user == "guard" and route[2].user == "me"


def test_jumps_in_a_circle_end(tmp_path: Path) -> None:
    file = config(tmp_path, "Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n")

    with pytest.raises(ConfigError, match="over 8 jumps"):
        resolve_route(Pool("p", "a", ssh_config=file))


def test_a_proxy_command_has_its_tokens_filled_in(tmp_path: Path) -> None:
    file = config(tmp_path, "Host mac\n  HostName h\n  User u\n  ProxyCommand nc -x %% %h %p %r\n")

    assert last(Pool("mac", "mac", ssh_config=file)).proxy_command == "nc -x % h 22 u"


def test_a_configuration_that_ssh_refuses(tmp_path: Path) -> None:
    file = config(tmp_path, "Host mac\n  Prot 22\n")

    with pytest.raises(ConfigError, match=r"ssh refuses its configuration .*line 2.*prot"):
        resolve_route(Pool("mac", "mac", ssh_config=file))


def test_without_an_ssh_command_a_plain_target_works_and_a_configuration_is_not_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = str(tmp_path / "missing")

    target = last(Pool("mac", "me@10.0.0.5:2200", ssh_config=missing))
    assert (target.user, target.place) == ("me", "10.0.0.5:2200")

    with pytest.raises(ConfigError, match="no ssh command to read it; install the OpenSSH client"):
        resolve_route(Pool("mac", "mac2", ssh_config=config(tmp_path, "")))
