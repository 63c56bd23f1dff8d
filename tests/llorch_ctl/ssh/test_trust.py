"""Strict host keys, and how a person comes to trust a host."""

from __future__ import annotations

import io
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from llorch_ctl.context import Session
from llorch_ctl.errors import (
    HostKeyAuthority,
    HostKeyChanged,
    HostKeyNew,
    HostKeyRevoked,
)
from llorch_ctl.introduce import introduce
from llorch_ctl.inventory import Pool
from llorch_ctl.remote import RemoteTransport
from llorch_ctl.ssh.hostkeys import HostKey
from llorch_ctl.ssh.trust import append_keys
from pool_core.console import Console
from pool_core.errors import ExitCode, LlorchError
from pool_core.home import Home
from tests.rigs.ssh_keys import public_key
from tests.rigs.sshd import SshHost, SshLab


@pytest.fixture
def stranger(lab: SshLab) -> SshHost:
    """A host that no file knows, with two host keys."""
    return lab.add_host("mac", known=False, key_types=("ed25519", "ecdsa"))


@pytest.fixture
def session(home: Home) -> Session:
    return Session(home, Console())


def log_in(pool: Pool, home: Home) -> None:
    with RemoteTransport(pool, home) as transport:
        transport.connect()


def fingerprints(host: SshHost) -> list[str]:
    """As the host itself says."""
    shown = [
        subprocess.run(["ssh-keygen", "-lf", str(key)], capture_output=True, text=True, check=True)
        for key in host.host_keys
    ]
    return [done.stdout.split()[1] for done in shown]


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


def test_an_unknown_host_is_refused_before_the_login(
    lab: SshLab, stranger: SshHost, home: Home
) -> None:
    with pytest.raises(HostKeyNew) as caught:
        log_in(stranger.pool, home)

    first, _ = fingerprints(stranger)
    assert str(caught.value) == (
        f"mac: unknown host key {first} (ssh-ed25519); "
        "compare it on the host, then: llorch pool trust mac"
    )
    assert caught.value.exit_code is ExitCode.REFUSED
    stranger.wait_log("Connection closed", "Connection reset", "Disconnected")
    assert "publickey" not in stranger.log


def test_an_ad_hoc_host_is_told_how_to_be_trusted(stranger: SshHost, home: Home) -> None:
    pool = replace(stranger.pool, name=stranger.target, is_listed=False)

    with pytest.raises(HostKeyNew, match=f"llorch pool trust --host {stranger.target}"):
        log_in(pool, home)


def test_saying_yes_writes_all_keys_down_and_lets_in(
    session: Session,
    stranger: SshHost,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("yes\n"))

    [shown] = introduce(session, stranger.pool, None, yes=False)

    assert [key["fingerprint"] for key in shown["keys"]] == fingerprints(stranger)
    asked = capsys.readouterr().err
    assert all(fingerprint in asked for fingerprint in fingerprints(stranger))
    assert "Type yes to trust" in asked
    assert session.home.known_hosts.read_text().splitlines() == stranger.known_hosts_lines()
    log_in(stranger.pool, session.home)


@pytest.mark.parametrize("typed", ["no\n", "y\n", "\n", ""])
def test_anything_but_yes_is_no(
    session: Session, stranger: SshHost, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(typed))

    with pytest.raises(HostKeyNew, match="is not trusted"):
        introduce(session, stranger.pool, None, yes=False)

    assert not session.home.known_hosts.exists()


def test_without_a_terminal_nobody_is_asked(session: Session, stranger: SshHost) -> None:
    with pytest.raises(HostKeyNew, match="nobody to ask; .* --fingerprint SHA256:"):
        introduce(session, stranger.pool, None, yes=False)

    assert not session.home.known_hosts.exists()


def test_a_fingerprint_trusts_one_key_and_no_other(session: Session, stranger: SshHost) -> None:
    _, second = fingerprints(stranger)

    introduce(session, stranger.pool, second, yes=False)

    assert session.home.known_hosts.read_text().splitlines() == stranger.known_hosts_lines()[1:]
    log_in(stranger.pool, session.home)


def test_a_wrong_fingerprint_trusts_nothing(session: Session, stranger: SshHost) -> None:
    with pytest.raises(HostKeyNew, match="is not SHA256:abc"):
        introduce(session, stranger.pool, "SHA256:abc", yes=True)

    assert not session.home.known_hosts.exists()


def test_trusting_twice_changes_nothing(session: Session, stranger: SshHost) -> None:
    introduce(session, stranger.pool, None, yes=True)
    before = session.home.known_hosts.read_text()

    [shown] = introduce(session, stranger.pool, None, yes=False)

    assert not shown["new"]
    assert session.home.known_hosts.read_text() == before


def test_a_changed_key_is_refused_and_cannot_be_trusted_over(lab: SshLab, session: Session) -> None:
    host = lab.add_host("mac")
    log_in(host.pool, session.home)
    start = len(host.log.splitlines())
    host.rotate_host_keys()

    with pytest.raises(HostKeyChanged) as caught:
        log_in(host.pool, session.home)
    with pytest.raises(HostKeyChanged):
        introduce(session, host.pool, None, yes=True)

    text = str(caught.value)
    assert f"mac: HOST KEY CHANGED to {fingerprints(host)[0]} ({lab.known_hosts}:1 has" in text
    remedy = f"ssh-keygen -R '[127.0.0.1]:{host.port}' -f {lab.known_hosts}"
    assert f"{remedy} && llorch pool trust mac" in text
    host.wait_log("Connection closed", "Connection reset", "Disconnected", since=start)
    assert "publickey" not in "\n".join(host.log.splitlines()[start:])

    subprocess.run(remedy, shell=True, check=True, capture_output=True)
    introduce(session, host.pool, None, yes=True)
    log_in(host.pool, session.home)


@pytest.mark.parametrize(
    ("line", "kind"),
    [("@revoked * {}", HostKeyRevoked), ("@cert-authority * {}", HostKeyAuthority)],
)
def test_lines_with_a_marker(
    lab: SshLab, stranger: SshHost, home: Home, line: str, kind: type[LlorchError]
) -> None:
    lab.known_hosts.write_text(line.format(public_key(stranger.host_keys[0])))

    with pytest.raises(kind, match=f"{lab.known_hosts}:1"):
        log_in(stranger.pool, home)


def test_a_revoked_key_cannot_be_trusted(lab: SshLab, stranger: SshHost, session: Session) -> None:
    lab.known_hosts.write_text(f"@revoked * {public_key(stranger.host_keys[0])}")

    with pytest.raises(HostKeyRevoked):
        introduce(session, stranger.pool, None, yes=True)


def test_the_host_is_asked_for_the_key_that_is_known(
    lab: SshLab, stranger: SshHost, home: Home
) -> None:
    """It would show its ed25519 key to anybody; only the other one is in the file."""
    lab.known_hosts.write_text(stranger.known_hosts_lines()[1] + "\n")

    log_in(stranger.pool, home)


def test_a_host_behind_another_is_introduced_after_it(lab: SshLab, session: Session) -> None:
    gate, inner = (lab.add_host(name, known=False) for name in ("gate", "inner"))
    lab.ssh_config.write_text(f"Host *\n  IdentityFile {lab.key}\n")
    pool = replace(inner.pool, proxy_jump=gate.target)

    shown = introduce(session, pool, None, yes=True)

    assert [host["host"] for host in shown] == [f"[127.0.0.1]:{h.port}" for h in (gate, inner)]
    log_in(pool, session.home)


def test_many_may_write_at_once_and_a_last_line_without_its_end_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text("# mine\nhost ssh-ed25519 AAAA")

    def add(names: Sequence[str]) -> None:
        for name in names:
            append_keys(file, name, [HostKey("ssh-ed25519", b"blob"), HostKey("ssh-rsa", b"b")])

    names = [[f"host-{number}-{thread}" for number in range(10)] for thread in range(6)]
    threads = [threading.Thread(target=add, args=(part,)) for part in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    lines = file.read_text().splitlines()
    assert lines[:2] == ["# mine", "host ssh-ed25519 AAAA"]
    assert len(lines) == 2 + 2 * 60
    assert {line.split()[0] for line in lines[2:]} == {name for part in names for name in part}
    assert all(len(line.split()) == 3 for line in lines[1:])
