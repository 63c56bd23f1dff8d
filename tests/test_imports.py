"""Start-up: commands that only look must not load the libraries that work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("llama_cpp", "huggingface_hub", "fastapi", "numpy", "paramiko")

PROBE = """
import runpy, sys
sys.argv = {argv!r}
try:
    runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
except SystemExit as stop:
    assert stop.code in (0, None), stop.code
print("LOADED", *[name for name in {heavy!r} if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("llorch_ctl", ["--help"]),
        ("llorch_ctl", ["pool", "--help"]),
        ("llorch_ctl", ["matrix", "run", "--help"]),
        ("pool_ctl", ["--help"]),
        ("pool_ctl", ["worker", "list"]),
        ("pool_ctl", ["models", "list", "--json"]),
        ("pool_ctl", ["backend", "list"]),
        ("worker", ["--help"]),
    ],
)
def test_looking_loads_no_heavy_library(module: str, arguments: list[str], tmp_path: Path) -> None:
    script = PROBE.format(argv=[module, *arguments], module=module, heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"LLORCH_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TERM": "dumb"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["LOADED"]
