"""`bin/*`: the programs as a checkout runs them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("llorch", "llorch-pool")


def run(argv: list[str], home: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "LLORCH_HOME": str(home), "TERM": "dumb"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_launcher_works_from_any_folder_and_through_a_link(program: str, tmp_path: Path) -> None:
    link = tmp_path / program
    link.symlink_to(ROOT / "bin" / program)
    done = run([str(link), "--version"], tmp_path / "home", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{program} ")


def test_modules_in_the_current_folder_are_not_ours(tmp_path: Path) -> None:
    for name in ("worker", "pool_core", "pool_ctl"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    done = run(
        [str(ROOT / "bin" / "llorch"), "pool", "worker", "list"], tmp_path / "home", tmp_path
    )
    assert done.returncode == 0, done.stderr


def test_an_old_python_is_named_before_anything_is_made(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "dirname", "readlink", "pwd"):
        (tools / tool).symlink_to(
            next(p for p in (Path("/bin") / tool, Path("/usr/bin") / tool) if p.exists())
        )
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tools / "python3").chmod(0o755)
    done = subprocess.run(
        [str(ROOT / "scripts" / "setup")],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert len(done.stderr.splitlines()) == 1
