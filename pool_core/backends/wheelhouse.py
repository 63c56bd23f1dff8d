"""llama-cpp-python wheels, built once for a machine and kept.

pip caches wheels by their source, not by CMAKE_ARGS, so a CPU-only wheel would quietly be used
again for an RPC or CUDA build; and the default build is tuned to this very CPU and dies with
SIGILL on an older one. So wheels live in a folder named by version, arguments, Python and machine.

Standard library only: `scripts/bootstrap.py` uses this before anything is installed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pool_core.backends.descriptors import BASE_ARGS
from pool_core.errors import LlorchError

LLAMA_CPP_PYTHON = "0.3.36"

_NINJA_STEP = re.compile(r"^\s*\[(\d+)/(\d+)\]")
_TAIL_LINES = 15


class BuildFailed(LlorchError):
    """Compiling llama-cpp-python failed; the message carries the compiler's last words."""

    code = "E_BUILD"


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """Compile steps done, of how many. (0, 0) while pip still fetches and configures."""

    done: int
    total: int


def wheelhouse() -> Path:
    """Where wheels are kept: LLORCH_WHEELHOUSE, else the user's cache. Never a checkout."""
    if folder := os.environ.get("LLORCH_WHEELHOUSE"):
        return Path(folder).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "llorch" / "wheels"


def wheel_key(python: Path, cmake_args: tuple[str, ...], version: str = LLAMA_CPP_PYTHON) -> str:
    """The folder name that one build may be reused under."""
    build = hashlib.sha256("\n".join((*cmake_args, _cpu_features())).encode()).hexdigest()[:10]
    return (
        f"{version}-{_python_tag(python)}-{platform.system().lower()}-{platform.machine()}-{build}"
    )


def find_wheel(python: Path, cmake_args: tuple[str, ...] = BASE_ARGS) -> Path | None:
    """The wheel that was built before for this machine, if any."""
    return next((wheelhouse() / wheel_key(python, cmake_args)).glob("*.whl"), None)


def build_wheel(
    python: Path, cmake_args: tuple[str, ...] = BASE_ARGS, log: Path | None = None
) -> Generator[BuildProgress, None, None]:
    """Build the wheel unless it is there; afterwards `find_wheel` has it.

    Two builds of one wheel at once wait for each other. Interrupted, it leaves nothing behind.
    The build's output goes to `log`. Raises BuildFailed.
    """
    folder = wheelhouse() / wheel_key(python, cmake_args)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / ".lock"):
        if find_wheel(python, cmake_args):
            return
        with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as scratch:
            yield from _compile(python, cmake_args, Path(scratch), log or folder / "build.log")
            wheel = next(Path(scratch).glob("*.whl"))
            wheel.replace(folder / wheel.name)


def _compile(
    python: Path, cmake_args: tuple[str, ...], output: Path, log: Path
) -> Generator[BuildProgress, None, None]:
    argv = [str(python), "-m", "pip", "wheel", "-v", "--no-cache-dir", "--no-deps"]
    argv += ["--no-binary", "llama-cpp-python", "--wheel-dir", str(output)]
    argv.append(f"llama-cpp-python=={LLAMA_CPP_PYTHON}")
    env = {**os.environ, "CMAKE_ARGS": " ".join(cmake_args), "TMPDIR": str(output)}
    yield BuildProgress(0, 0)
    with log.open("w", encoding="utf-8") as record:
        process = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                record.write(line)
                if step := _NINJA_STEP.match(line):
                    yield BuildProgress(int(step[1]), int(step[2]))
            if process.wait() != 0:
                record.flush()
                raise _failure(log)
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Stop pip and the compilers under it, if they still run."""
    if process.poll() is None:
        os.killpg(process.pid, 15)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _failure(log: Path) -> BuildFailed:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if not (shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")):
        return BuildFailed(
            "compiling llama-cpp-python needs a C++ compiler and there is none",
            "install one (Debian: apt install build-essential; macOS: xcode-select --install)",
        )
    tail = [line for line in lines if line.strip()][-_TAIL_LINES:]
    return BuildFailed(
        "compiling llama-cpp-python failed:\n  " + "\n  ".join(tail), f"whole output: {log}"
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _python_tag(python: Path) -> str:
    script = "import sys; print(f'cp{sys.version_info[0]}{sys.version_info[1]}')"
    return subprocess.run(
        [str(python), "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()


def _cpu_features() -> str:
    """What GGML_NATIVE tunes for; two machines with equal features may share a wheel."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
