"""Python tools in virtual environments of their own: nothing here may touch the one under test."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.peer.cache import cache_folder, made_once
from pool_core.backends.wheelhouse import LLAMA_CPP_PYTHON, find_wheel


def tools_venv() -> dict[str, str]:
    """The paths of cmake and ninja: this machine's, else from the package index."""
    names = ("cmake", "ninja")
    if all(map(shutil.which, names)):
        return {name: str(shutil.which(name)) for name in names}
    folder = make_venv("build-tools", *names)
    return {name: str(folder / "bin" / name) for name in names}


def py_spy() -> Path:
    """The sampling profiler's program. Raises BenchmarkError where it cannot be installed."""
    return make_venv("py-spy", "py-spy") / "bin" / "py-spy"


def llama_cpp_server_python() -> Path:
    """A Python with llama_cpp.server and the very wheel that ours runs on."""
    wheel = find_wheel(Path(sys.executable))
    if wheel is None:
        raise BenchmarkError("llama-cpp-python's wheel is not built yet", "run scripts/setup")
    name = f"llama-cpp-server-{LLAMA_CPP_PYTHON}"
    return make_venv(name, f"llama-cpp-python[server] @ {wheel.as_uri()}") / "bin" / "python"


def make_venv(name: str, *requirements: str) -> Path:
    """The folder of a virtual environment with these packages. Raises BenchmarkError."""
    folder = cache_folder() / "venvs" / name
    with made_once(folder) as missing:
        if missing:
            venv.create(folder, with_pip=True)
            argv = [str(folder / "bin" / "python"), "-m", "pip", "install", *requirements]
            done = subprocess.run(argv, capture_output=True, text=True)
            if done.returncode:
                raise BenchmarkError(f"pip cannot install {name}: {done.stderr.strip()[-400:]}")
    return folder
