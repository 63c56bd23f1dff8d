"""Hosts that cannot be reached, each with its own words."""

from __future__ import annotations

import socket

import pytest

from llorch_ctl.errors import (
    ConnectionRefused,
    ConnectTimeout,
    NameNotResolved,
    ServerBusy,
    Unreachable,
)
from llorch_ctl.inventory import Pool
from llorch_ctl.remote import RemoteTransport
from llorch_ctl.ssh.handshake import Timeouts
from pool_core.home import Home
from tests.llorch_ctl.driving import ask
from tests.llorch_ctl.servers import answering, listening
from tests.llorch_ctl.ssh.hosts import QUICK, reach
from tests.rigs.sshd import SshHost, SshLab


def test_a_listener_that_is_gone(mac: SshHost, home: Home) -> None:
    mac.stop_listener()

    with reach(mac, home) as transport:
        with pytest.raises(ConnectionRefused, match=rf"mac: 127\.0\.0\.1:{mac.port} refused"):
            ask(transport, ["echo"])


def test_a_name_that_does_not_resolve(lab: SshLab, home: Home) -> None:
    pool = Pool("mac", "no-such-host.invalid", ssh_config=str(lab.ssh_config))

    with RemoteTransport(pool, home, QUICK) as transport:
        with pytest.raises(NameNotResolved, match='cannot resolve "no-such-host.invalid"'):
            transport.connect()


def test_a_port_where_nobody_speaks(lab: SshLab, home: Home) -> None:
    timeouts = Timeouts(connect=1, handshake=0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"127.0.0.1:{listener.getsockname()[1]}"
        pool = Pool("mute", target, ssh_config=str(lab.ssh_config))
        with RemoteTransport(pool, home, timeouts) as transport:
            with pytest.raises(ConnectTimeout, match=r"accepts .* says nothing in 0\.5 s"):
                transport.connect()


def test_a_server_that_hangs_up_on_everybody(lab: SshLab, home: Home) -> None:
    calls: list[int] = []
    with listening(lambda sock: calls.append(1)) as port:
        pool = Pool("busy", f"127.0.0.1:{port}", ssh_config=str(lab.ssh_config))
        with RemoteTransport(pool, home, QUICK) as transport:
            with pytest.raises(ServerBusy, match="dropped the connection 4 times"):
                transport.connect()
        assert len(calls) == 4


def test_a_server_that_is_no_sshd(lab: SshLab, home: Home) -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        pool = Pool("web", f"127.0.0.1:{port}", ssh_config=str(lab.ssh_config))
        with RemoteTransport(pool, home, QUICK) as transport, pytest.raises(Unreachable):
            transport.connect()
