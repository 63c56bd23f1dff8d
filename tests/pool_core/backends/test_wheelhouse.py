"""The wheelhouse, over a scripted pip: what is cached, what is shown, what a failure says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pool_core.backends.descriptors import BASE_ARGS
from pool_core.backends.wheelhouse import BuildFailed, BuildProgress, build_wheel, find_wheel

PIP = """#!/bin/sh
if [ "$1" = -c ]; then exec {python} "$@"; fi      # the question which Python this is
echo "$CMAKE_ARGS" >> {calls}
echo "Collecting llama-cpp-python"
echo "  [1/3] Building CXX object a.o"
echo "  [3/3] Linking CXX shared library"
{ending}
"""
BUILDS = 'while [ "$1" != --wheel-dir ]; do shift; done; echo wheel > "$2/llama-1.whl"'
FAILS = 'echo "ggml.c:7: error: no such thing"; exit 1'


@pytest.fixture(autouse=True)
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLORCH_WHEELHOUSE", str(tmp_path / "wheels"))
    return tmp_path / "wheels"


def scripted_python(folder: Path, ending: str) -> Path:
    path = folder / "python"
    path.write_text(PIP.format(python=sys.executable, calls=folder / "calls", ending=ending))
    path.chmod(0o755)
    return path


def test_a_build_shows_the_compiler_steps_and_is_kept(tmp_path: Path) -> None:
    python = scripted_python(tmp_path, BUILDS)
    assert find_wheel(python) is None
    steps = list(build_wheel(python))
    assert steps == [BuildProgress(0, 0), BuildProgress(1, 3), BuildProgress(3, 3)]
    assert find_wheel(python) is not None
    assert list(build_wheel(python)) == []
    assert (tmp_path / "calls").read_text() == "-DGGML_RPC=ON -DLLAVA_BUILD=OFF\n"


def test_other_arguments_are_another_wheel(tmp_path: Path) -> None:
    python = scripted_python(tmp_path, BUILDS)
    list(build_wheel(python))
    cuda = (*BASE_ARGS, "-DGGML_CUDA=ON")
    assert find_wheel(python, cuda) is None
    list(build_wheel(python, cuda))
    assert find_wheel(python, cuda) != find_wheel(python)


def test_a_failed_build_says_why_and_leaves_only_its_log(tmp_path: Path, wheels: Path) -> None:
    python = scripted_python(tmp_path, FAILS)
    with pytest.raises(BuildFailed, match="no such thing") as caught:
        list(build_wheel(python))
    assert "build.log" in str(caught.value)
    assert find_wheel(python) is None
    left = sorted(path.name for path in wheels.rglob("*") if path.is_file())
    assert left == [".lock", "build.log"]


def test_an_abandoned_build_is_stopped_and_cleaned_up(tmp_path: Path, wheels: Path) -> None:
    python = scripted_python(tmp_path, "exec sleep 600")
    build = build_wheel(python)
    assert [next(build), next(build)] == [BuildProgress(0, 0), BuildProgress(1, 3)]
    build.close()  # type: ignore[attr-defined]
    assert not list(wheels.rglob(".build-*"))
