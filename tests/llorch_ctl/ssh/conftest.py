"""One host of the lab, for the tests that need no more."""

from __future__ import annotations

import pytest

from tests.llorch_ctl.ssh.hosts import add
from tests.rigs.sshd import SshHost, SshLab


@pytest.fixture
def mac(lab: SshLab) -> SshHost:
    """A host whose llorch-pool is the scripted one."""
    return add(lab, "mac")
