"""Runtimes: a Python with llama-cpp-python built for one backend.

The environment llorch runs in is one itself, for what its build contains. Others stand in
`runtimes/<backend>`: a virtual environment holding only llama-cpp-python, laid over the
environment of llorch by a .pth file, so that llorch and its other libraries exist once and an
upgrade of llorch reaches every runtime.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

from pool_core.backends.descriptors import Backend, get_backend
from pool_core.backends.errors import BackendMissing
from pool_core.backends.hardware import hardware_for
from pool_core.files import write_atomic
from pool_core.home import Home

_OVERLAY = "llorch.pth"


@dataclass(frozen=True, slots=True)
class Runtime:
    """`python` runs workers for `backend`; `libraries` is where its llama.cpp lies."""

    backend: str
    python: Path
    libraries: Path

    @property
    def worker_program(self) -> tuple[str, ...]:
        # -P: a folder called `worker` where the command was typed is not our worker.
        return (str(self.python), "-P", "-m", "worker")

    @property
    def build(self) -> str:
        """The version of llama-cpp-python, e.g. '0.3.36'; "" if unknown."""
        packages = self.libraries.parent.parent
        found = sorted(packages.glob("llama_cpp_python-*.dist-info"))
        return found[-1].name.removesuffix(".dist-info").rpartition("-")[2] if found else ""


def find_runtime(home: Home, backend: Backend) -> Runtime | None:
    """The runtime that serves `backend`, its own before the one llorch runs in."""
    return _own_runtime(home, backend) or _current_runtime(backend)


def resolve_runtime(home: Home, name: str) -> Runtime:
    """The runtime to start a worker with. Raises UnknownName, and BackendMissing saying why."""
    backend = get_backend(name)
    if runtime := find_runtime(home, backend):
        if runtime.python != Path(sys.executable):
            write_overlay(runtime.libraries.parent.parent)
        return runtime
    hardware = hardware_for(name)
    if not hardware.found:
        raise BackendMissing(
            f"this machine cannot run {name}: {hardware.missing}",
            "choose another: llorch-pool backend list",
        )
    raise BackendMissing(
        f"nothing is installed for {name}", f"run: llorch-pool backend install {name}"
    )


def runtime_folder(home: Home, backend: str) -> Path:
    return home.runtimes / backend


def packages_folder(runtime: Path) -> Path | None:
    """Where a virtual environment keeps its packages; None if it is made for another Python."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    folder = runtime / "lib" / version / "site-packages"
    return folder if folder.is_dir() else None


def write_overlay(packages: Path) -> None:
    """Let the packages of the environment llorch runs in follow those in `packages`.

    Written anew when llorch has moved, as an upgrade moves it.
    """
    source = Path(__file__).resolve().parent.parent.parent
    lines = [f"import site; site.addsitedir({folder!r})" for folder in _site_folders()]
    text = "\n".join([*lines, str(source)]) + "\n"
    overlay = packages / _OVERLAY
    if not overlay.exists() or overlay.read_text(encoding="utf-8") != text:
        write_atomic(overlay, text)


def _site_folders() -> list[str]:
    return [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]


def _own_runtime(home: Home, backend: Backend) -> Runtime | None:
    folder = runtime_folder(home, backend.name)
    packages = packages_folder(folder)
    python = folder / "bin" / "python"
    if packages is None or not python.exists():
        return None
    libraries = packages / "llama_cpp" / "lib"
    return Runtime(backend.name, python, libraries) if _has(libraries, backend) else None


def _current_runtime(backend: Backend) -> Runtime | None:
    spec = importlib.util.find_spec("llama_cpp")  # looks for it, does not import it
    if spec is None or spec.origin is None:
        return None
    libraries = Path(spec.origin).parent / "lib"
    return (
        Runtime(backend.name, Path(sys.executable), libraries) if _has(libraries, backend) else None
    )


def _has(libraries: Path, backend: Backend) -> bool:
    patterns = (f"lib{backend.library}*.so", f"lib{backend.library}*.dylib")
    return any(next(libraries.glob(pattern), None) for pattern in patterns)
