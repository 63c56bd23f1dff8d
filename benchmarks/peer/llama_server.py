"""llama-server out of the sources that llama-cpp-python ships: the same llama.cpp, a fair peer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.peer.cache import cache_folder, made_once
from benchmarks.peer.venvs import tools_venv
from pool_core.backends.descriptors import get_backend
from pool_core.backends.wheelhouse import LLAMA_CPP_PYTHON, wheel_key

_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
)


def build_llama_server(
    backend: str, say: Callable[[str], None], *, configure_only: bool = False
) -> Path:
    """The program, built on first use: about six minutes on two cores. Raises BenchmarkError."""
    args = get_backend(backend).cmake_args
    folder = cache_folder() / f"llama-server-{wheel_key(Path(sys.executable), args)}"
    program = folder / "build" / "bin" / "llama-server"
    with made_once(folder / "configured") as missing:
        if missing:
            say("fetching the sources of llama.cpp")
            configure(_sources(folder), folder / "build", args, folder / "build.log")
    if configure_only:
        return program
    with made_once(folder / "built") as missing:
        if missing:
            say("building llama-server, once: some minutes")
            _compile(folder / "build", folder / "build.log")
    return program


def configure(source: Path, build: Path, args: tuple[str, ...], log: Path) -> None:
    """Have cmake write the build; `args` are those of the wheel that ours is measured with."""
    tools = tools_venv()
    argv = [tools["cmake"], "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tools['ninja']}"]
    _logged([*argv, "-S", str(source), "-B", str(build), *_FLAGS, *args], log)


def _compile(build: Path, log: Path) -> None:
    argv = [tools_venv()["cmake"], "--build", str(build), "--target", "llama-server"]
    _logged([*argv, "-j", str(os.cpu_count() or 1)], log)


def _sources(folder: Path) -> Path:
    """llama.cpp, unpacked out of llama-cpp-python's source distribution."""
    argv = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir"]
    argv += ["--no-binary", "llama-cpp-python", "--dest", str(folder)]
    _logged([*argv, f"llama-cpp-python=={LLAMA_CPP_PYTHON}"], folder / "download.log")
    archive = next(folder.glob("*.tar.gz"))
    shutil.unpack_archive(archive, folder)
    archive.unlink()
    return next(folder.glob("*/vendor/llama.cpp"))


def _logged(argv: list[str], log: Path) -> None:
    with log.open("ab") as record:
        code = subprocess.run(argv, stdout=record, stderr=subprocess.STDOUT).returncode
    if code:
        raise BenchmarkError(f"{Path(argv[0]).name} failed", f"see {log}")
