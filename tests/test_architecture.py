"""The shape of the house: who may import whom, and the one door of each dependency."""

from __future__ import annotations

import ast
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pool_core.backends.wheelhouse import LLAMA_CPP_PYTHON

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pool_core", "pool_ctl", "llorch_ctl", "worker")

DOORS = {
    "llama_cpp": ("worker/llama/",),
    "llguidance": ("worker/llama/", "worker/chat/lark.py"),
    "paramiko": ("llorch_ctl/ssh/",),
    "huggingface_hub": ("pool_core/download/",),
    "fastapi": ("worker/api/",),
    "uvicorn": ("worker/http_server.py",),
    "typer": (
        "pool_ctl/app.py",
        "pool_ctl/invoke.py",
        "pool_ctl/options.py",
        "pool_ctl/commands/",
        "llorch_ctl/app.py",
        "llorch_ctl/options.py",
        "llorch_ctl/mirror.py",
        "llorch_ctl/commands/",
    ),
    "rich": (
        "pool_core/console.py",
        "pool_core/live.py",
        "pool_ctl/views/",
        "llorch_ctl/views.py",
        "llorch_ctl/matrix/",
    ),
    "subprocess": (
        "pool_core/spawn/",
        "pool_core/backends/",
        "llorch_ctl/local.py",
        "llorch_ctl/ssh/",
        "worker/chat/sandbox.py",
    ),
    "jinja2": ("worker/chat/render_child.py", "llorch_ctl/matrix/reports/html.py"),
}


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("library", DOORS)
def test_each_dependency_has_one_door(library: str) -> None:
    strangers = [
        name
        for path in sources()
        if not (name := path.relative_to(ROOT).as_posix()).startswith(DOORS[library])
        and any(module.split(".")[0] == library for module in imports_of(path))
    ]
    assert strangers == []


def test_import_contracts_hold() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_the_wheelhouse_builds_the_version_llorch_depends_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"llama-cpp-python=={LLAMA_CPP_PYTHON}" in project["dependencies"]


def test_no_source_file_grows_past_its_noun() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {lines}"
        for path in sources()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    ]
    assert long == []


def test_the_map_of_the_modules_is_true() -> None:
    written = runpy.run_path(str(ROOT / "scripts" / "architecture.py"))["page"]()
    page = (ROOT / ".specs" / "architecture.md").read_text(encoding="utf-8")
    assert page == written, "run .venv/bin/python scripts/architecture.py"
