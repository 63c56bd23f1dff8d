"""Through one host to another."""

from __future__ import annotations

from pathlib import Path

import pytest

from llorch_ctl.inventory import Pool
from llorch_ctl.remote import RemoteTransport
from llorch_ctl.ssh.handshake import Timeouts
from pool_core.errors import LlorchError
from pool_core.home import Home
from tests.llorch_ctl.driving import ask
from tests.llorch_ctl.ssh.hosts import QUICK, add
from tests.rigs.sshd import SshHost, SshLab


def jump_config(lab: SshLab, *hosts: SshHost) -> None:
    lab.ssh_config.write_text(
        "".join(
            f"Host {host.name}\n  HostName 127.0.0.1\n  Port {host.port}\n  User {host.user}\n"
            f"  IdentityFile {lab.key}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {lab.known_hosts}\n"
            for host in hosts
        )
    )


def through(lab: SshLab, jumps: str, last: SshHost) -> Pool:
    return Pool(
        "far", last.name, proxy_jump=jumps, ssh_config=str(lab.ssh_config), command=str(last.agent)
    )


def test_two_jumps(lab: SshLab, home: Home) -> None:
    hosts = [add(lab, name) for name in ("gate", "middle", "inner")]
    jump_config(lab, *hosts)

    with RemoteTransport(through(lab, "gate,middle", hosts[2]), home, QUICK) as transport:
        _, answer = ask(transport, ["echo", "through"])

    assert answer.data["words"] == ["through"]
    assert all("Accepted publickey" in host.log for host in hosts)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("host key", "far: jump host middle: HOST KEY CHANGED"),
        ("user", "far: jump host middle: server refused keys id_ed25519 for user nobody-here"),
        ("listener", "far: its jump host cannot reach 127.0.0.1:"),
    ],
)
def test_trouble_on_the_way_names_the_hop(lab: SshLab, home: Home, spoil: str, words: str) -> None:
    gate, middle, inner = (add(lab, name) for name in ("gate", "middle", "inner"))
    jump_config(lab, gate, middle, inner)
    if spoil == "host key":
        middle.rotate_host_keys()
    elif spoil == "user":
        text = lab.ssh_config.read_text().replace(
            f"Host middle\n  HostName 127.0.0.1\n  Port {middle.port}\n  User {middle.user}",
            f"Host middle\n  HostName 127.0.0.1\n  Port {middle.port}\n  User nobody-here",
        )
        lab.ssh_config.write_text(text)
    else:
        middle.stop()

    with RemoteTransport(through(lab, "gate,middle", inner), home, QUICK) as transport:
        with pytest.raises(LlorchError, match=words):
            transport.connect()


def test_a_proxy_command(lab: SshLab, home: Home, tmp_path: Path) -> None:
    gate, inner = add(lab, "gate"), add(lab, "inner")
    jump_config(lab, gate, inner)
    with lab.ssh_config.open("a") as file:
        file.write(f"Host inner\n  ProxyCommand ssh -F {lab.ssh_config} -W %h:%p gate\n")
    pool = Pool("far", "inner", ssh_config=str(lab.ssh_config), command=str(inner.agent))

    with RemoteTransport(pool, home, Timeouts()) as transport:
        assert ask(transport, ["echo"])[1].ok
