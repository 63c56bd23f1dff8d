"""The one string that a login shell reads, in every shell of this machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from llorch_ctl.client import NOT_INSTALLED
from llorch_ctl.ssh.command import START, start_command

# bash and dash are everywhere; the others where somebody installed them.
SHELLS = [name for name in ("sh", "bash", "dash", "zsh", "fish", "tcsh") if shutil.which(name)]


def run(shell: str, home: Path, command: str = START) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(shutil.which(shell)), "-c", command],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )


def install(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text('#!/bin/sh\necho "$0" "$@"\n')
    path.chmod(0o755)
    return path


def test_it_is_one_line_that_no_shell_stumbles_over() -> None:
    assert not set(START) & set("!\\\n`")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "place", [".local/bin/llorch-pool", ".local/share/llorch/current/bin/llorch-pool"]
)
def test_it_finds_llorch_pool_in_its_places(tmp_path: Path, shell: str, place: str) -> None:
    home = tmp_path / "a home"
    agent = install(home / place)

    assert run(shell, home).stdout == f"{agent} stdio\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_it_says_so_when_there_is_none(tmp_path: Path, shell: str) -> None:
    done = run(shell, tmp_path)

    assert (done.returncode, done.stdout) == (127, "")
    assert done.stderr.splitlines()[-1] == NOT_INSTALLED


@pytest.mark.parametrize("shell", SHELLS)
def test_a_pools_own_command(tmp_path: Path, shell: str) -> None:
    agent = install(tmp_path / "llorch@2" / "llorch-pool")

    assert run(shell, tmp_path, start_command(str(agent))).stdout == f"{agent} stdio\n"
    assert (
        run(shell, tmp_path, start_command("~/llorch@2/llorch-pool")).stdout == f"{agent} stdio\n"
    )
