"""Hosts of the lab whose llorch-pool is the scripted one, and impatient ways to them."""

from __future__ import annotations

from llorch_ctl.remote import RemoteTransport
from llorch_ctl.ssh.handshake import Timeouts
from pool_core.home import Home
from tests.llorch_ctl.conftest import agent_script
from tests.rigs.sshd import SshHost, SshLab

QUICK = Timeouts(connect=2, handshake=5, login=5, channel=3, pulse=0.3, pulses=3)


def add(lab: SshLab, name: str, mode: str = "plain", **options: str) -> SshHost:
    host = lab.add_host(name, options)
    host.install_agent(agent_script(mode))
    return host


def reach(host: SshHost, home: Home) -> RemoteTransport:
    return RemoteTransport(host.pool, home, QUICK)
