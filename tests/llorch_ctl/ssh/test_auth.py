"""Logging in with keys, against a real sshd and a real ssh-agent."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from llorch_ctl.errors import AuthRefused, KeyLocked
from llorch_ctl.inventory import Pool
from llorch_ctl.remote import RemoteTransport
from llorch_ctl.ssh.auth import public_half
from llorch_ctl.ssh.known_hosts import parse_line
from pool_core.errors import ExitCode
from pool_core.home import Home
from tests.rigs.ssh_keys import PASSPHRASE, make_key, public_key
from tests.rigs.sshd import SshHost, SshLab


@pytest.fixture
def host(lab: SshLab) -> SshHost:
    return lab.add_host("mac")


def log_in(pool: Pool, home: Home) -> None:
    with RemoteTransport(pool, home) as transport:
        transport.connect()


def configured(host: SshHost, lab: SshLab, *lines: str) -> Pool:
    """The host as an alias of an ssh_config, without a key of its own in the inventory."""
    lab.ssh_config.write_text(
        f"Host mac\n  HostName 127.0.0.1\n  Port {host.port}\n  User {host.user}\n"
        f"  UserKnownHostsFile {lab.known_hosts}\n" + "".join(f"  {line}\n" for line in lines)
    )
    return Pool("mac", "mac", ssh_config=str(lab.ssh_config))


@contextmanager
def agent_with(keys: list[Path], passphrase: str = "") -> Iterator[Path]:
    """An ssh-agent that holds these keys; yields its socket."""
    folder = keys[0].parent
    sock, askpass = folder / "agent.sock", folder / "askpass"
    askpass.write_text(f"#!/bin/sh\necho '{passphrase}'\n")
    askpass.chmod(0o755)
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(sock)], stdout=subprocess.PIPE)
    try:
        assert agent.stdout is not None
        agent.stdout.readline()  # it listens before it says how to reach it
        env = os.environ | {"SSH_AUTH_SOCK": str(sock), "SSH_ASKPASS": str(askpass)}
        env |= {"SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
        subprocess.run(["ssh-add", *map(str, keys)], env=env, check=True, capture_output=True)
        yield sock
    finally:
        agent.terminate()
        agent.wait()
        assert agent.stdout is not None
        agent.stdout.close()


def tries(host: SshHost) -> int:
    return host.log.count("Failed publickey") + host.log.count("Accepted publickey")


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_keys_of_every_kind(lab: SshLab, host: SshHost, home: Home, kind: str) -> None:
    key = make_key(lab.folder / f"id_{kind}_2", kind)
    lab.authorize(key)

    log_in(replace(host.pool, identity_file=str(key)), home)

    host.wait_log("Accepted publickey")


def test_a_wrong_key_is_named_and_tried_once(lab: SshLab, host: SshHost, home: Home) -> None:
    stranger = make_key(lab.folder / "id_stranger")

    with pytest.raises(AuthRefused) as caught:
        log_in(replace(host.pool, identity_file=str(stranger)), home)

    assert str(caught.value).startswith(
        f"mac: server refused keys id_stranger for user {host.user}; ssh-copy-id"
    )
    assert caught.value.exit_code is ExitCode.REFUSED
    assert tries(host) == 1


def test_an_unknown_user(host: SshHost, home: Home) -> None:
    pool = replace(host.pool, ssh=f"nobody-here@127.0.0.1:{host.port}")

    with pytest.raises(AuthRefused, match="for user nobody-here"):
        log_in(pool, home)


def test_several_keys_are_tried_in_their_order(lab: SshLab, host: SshHost, home: Home) -> None:
    first, second = make_key(lab.folder / "id_first"), make_key(lab.folder / "id_second")
    keys = [f"IdentityFile {key}" for key in (first, second, lab.key)]

    log_in(configured(host, lab, "IdentitiesOnly yes", *keys), home)

    assert tries(host) == 3


def test_no_key_at_all(lab: SshLab, host: SshHost, home: Home) -> None:
    pool = configured(host, lab, f"IdentityFile {lab.folder}/missing", "IdentitiesOnly yes")

    with pytest.raises(AuthRefused, match="mac: no key to offer for user"):
        log_in(pool, home)


def test_a_key_file_that_is_none(lab: SshLab, host: SshHost, home: Home) -> None:
    broken = lab.folder / "id_broken"
    broken.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nbm9wZQ==\n")

    with pytest.raises(AuthRefused, match=r"id_broken \(unreadable\)"):
        log_in(replace(host.pool, identity_file=str(broken)), home)


@pytest.mark.parametrize("with_public_file", [True, False])
def test_a_locked_key_asks_for_the_agent_and_never_for_a_passphrase(
    lab: SshLab, host: SshHost, home: Home, with_public_file: bool
) -> None:
    locked = make_key(lab.folder / "id_locked", passphrase=PASSPHRASE)
    lab.authorize(locked)
    if not with_public_file:
        locked.with_name("id_locked.pub").unlink()

    with pytest.raises(KeyLocked, match=r"id_locked needs a passphrase; ssh-add .*id_locked"):
        log_in(replace(host.pool, identity_file=str(locked)), home)


@pytest.mark.parametrize("with_public_file", [True, False])
def test_a_locked_key_that_the_agent_holds_works(
    lab: SshLab,
    host: SshHost,
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    with_public_file: bool,
) -> None:
    locked = make_key(lab.folder / "id_locked", passphrase=PASSPHRASE)
    lab.authorize(locked)
    if not with_public_file:
        locked.with_name("id_locked.pub").unlink()

    with agent_with([locked], PASSPHRASE) as sock:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(sock))
        log_in(replace(host.pool, identity_file=str(locked)), home)

    assert tries(host) == 1


def test_nine_keys_in_the_agent_do_not_use_up_the_tries(
    lab: SshLab, host: SshHost, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [make_key(lab.folder / f"id_other_{number}") for number in range(8)]

    with agent_with([*others, lab.key]) as sock:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(sock))
        log_in(configured(host, lab, f"IdentityFile {lab.key}", "IdentitiesOnly yes"), home)
        assert tries(host) == 1
        log_in(configured(host, lab, f"IdentityFile {lab.key}"), home)
        assert tries(host) == 2


def test_too_many_keys_are_too_many(
    lab: SshLab, host: SshHost, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [make_key(lab.folder / f"id_other_{number}") for number in range(8)]

    with agent_with([*others, lab.key]) as sock:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(sock))
        with pytest.raises(AuthRefused, match=r"hung up after 6 keys .*: Too many .*; .*Identi"):
            log_in(configured(host, lab, f"IdentityFile {lab.folder}/missing"), home)


def test_the_agent_that_the_configuration_names(lab: SshLab, host: SshHost, home: Home) -> None:
    only_here = make_key(lab.folder / "id_agent_only")
    lab.authorize(only_here)
    missing = f"IdentityFile {lab.folder}/missing"

    with agent_with([only_here]) as sock:
        only_here.unlink()
        log_in(configured(host, lab, missing, f"IdentityAgent {sock}"), home)
    with pytest.raises(AuthRefused, match="no key to offer"):
        log_in(configured(host, lab, missing, f"IdentityAgent {sock}.gone"), home)


def test_a_server_that_takes_no_keys(lab: SshLab, home: Home) -> None:
    options = {"PubkeyAuthentication": "no", "PasswordAuthentication": "yes"}
    host = lab.add_host("passwords", options)

    with pytest.raises(AuthRefused, match="takes no keys for user .* only password"):
        log_in(host.pool, home)


def test_the_public_half_of_a_key(tmp_path: Path) -> None:
    key = make_key(tmp_path / "id", passphrase=PASSPHRASE)
    entry = parse_line(f"host {public_key(key)}", tmp_path, 1)
    assert entry is not None

    assert public_half(key) == entry.blob
    key.with_name("id.pub").unlink()
    assert public_half(key) == entry.blob
    key.write_text("not a key")
    assert public_half(key) is None
