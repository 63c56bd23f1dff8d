"""Ports of a pool, reached from here through a real sshd."""

from __future__ import annotations

import socket

import pytest

from llorch_ctl.errors import ForwardRefused
from pool_core.home import Home
from tests.llorch_ctl.servers import answering, closed_port, read_all, run_all
from tests.llorch_ctl.ssh.hosts import add, reach
from tests.rigs.sshd import SshHost, SshLab


def test_a_port_of_the_pool_is_reached_from_here(mac: SshHost, home: Home) -> None:
    with answering(b"hello from there") as port, reach(mac, home) as transport:
        with transport.open_port(port) as tunnel:
            assert tunnel.url == f"http://127.0.0.1:{tunnel.port}"
            assert tunnel.port != port
            assert read_all(tunnel.port) == b"hello from there"
            assert read_all(tunnel.port) == b"hello from there"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", tunnel.port))


def test_sixty_four_connections_through_one_tunnel(mac: SshHost, home: Home) -> None:
    heard: list[bytes] = []
    with answering(b"x" * 100_000) as port, reach(mac, home) as transport:
        with transport.open_port(port) as tunnel:
            run_all([lambda: heard.append(read_all(tunnel.port)) for _ in range(64)])

    assert [len(data) for data in heard] == [100_000] * 64


def test_a_worker_that_does_not_run(mac: SshHost, home: Home) -> None:
    port = closed_port()
    with reach(mac, home) as transport:
        with pytest.raises(ForwardRefused, match=f"127.0.0.1:{port} refused; is the worker"):
            transport.open_port(port).__enter__()


def test_a_server_that_forwards_nothing(lab: SshLab, home: Home) -> None:
    host = add(lab, "closed", AllowTcpForwarding="no")
    with answering(b"") as port, reach(host, home) as transport:
        with pytest.raises(ForwardRefused, match="allow AllowTcpForwarding"):
            transport.open_port(port).__enter__()
