"""Homes, scripted pools and a lab of real sshd for the tests of llorch_ctl."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from llorch_ctl.inventory import Pool
from pool_core.home import Home
from tests.rigs.sshd import SshLab

# Tests run side by side; how long one takes says nothing about the code.
settings.register_profile("side-by-side", deadline=None)
settings.load_profile("side-by-side")

FAKE_AGENT = Path(__file__).parent / "fake_agent.py"

MakePool = Callable[..., Pool]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The operator's home: empty, and also what LLORCH_HOME says."""
    path = tmp_path / "operator"
    monkeypatch.setenv("LLORCH_HOME", str(path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return Home(data=path, config=path)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[SshLab]:
    with SshLab(tmp_path / "lab") as lab:
        yield lab


@pytest.fixture
def fake_pool(tmp_path: Path) -> MakePool:
    """`fake_pool("noisy")`: a pool on this machine whose llorch-pool is fake_agent.py."""

    def make(mode: str = "plain", name: str = "fake") -> Pool:
        folder = tmp_path / f"agent-{name}"
        folder.mkdir()
        command = folder / "llorch-pool"
        command.write_text(f"#!/bin/sh\nexport LLORCH_HOME='{folder}'\n{agent_script(mode)}\n")
        command.chmod(0o755)
        return Pool(name, command=str(command))

    return make


def agent_script(mode: str = "plain") -> str:
    """A line of shell that runs the scripted agent; also for SshHost.install_agent."""
    return f'exec "{sys.executable}" -S -E "{FAKE_AGENT}" "{mode}" "$@"'
