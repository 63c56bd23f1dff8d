"""Building a runtime: plan it, refuse what cannot work, then build it beside its final place."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pool_core.backends.descriptors import Backend, get_backend
from pool_core.backends.errors import BackendMissing
from pool_core.backends.hardware import find_nvcc, hardware_for
from pool_core.backends.listing import missing_tools
from pool_core.backends.runtime import (
    Runtime,
    find_runtime,
    packages_folder,
    runtime_folder,
    write_overlay,
)
from pool_core.errors import LlorchError
from pool_core.events import Event, Progress, State
from pool_core.files import clear_os_errors
from pool_core.home import Home, private_dir


@dataclass(frozen=True, slots=True)
class InstallPlan:
    """What `install_backend` will do: a virtual environment, a wheel, and a rename."""

    backend: str
    folder: Path
    cmake_args: tuple[str, ...]
    log: Path

    def venv_argv(self, scratch: Path) -> list[str]:
        return [sys.executable, "-m", "venv", str(scratch)]

    def install_argv(self, scratch: Path, wheel: Path) -> list[str]:
        python = str(scratch / "bin" / "python")
        # Its dependencies come from the environment of llorch, which lies under the runtime.
        options = ["--disable-pip-version-check", "--no-index", "--no-deps"]
        return [python, "-m", "pip", "install", *options, str(wheel)]


def plan_install(home: Home, name: str, *, force: bool = False) -> InstallPlan:
    """Raises UnknownName, and BackendMissing when this machine cannot build or use it.

    `force` builds where the hardware is not there, for a machine image that moves on.
    """
    backend = get_backend(name)
    hardware = hardware_for(name)
    if not hardware.found and not force:
        raise BackendMissing(
            f"{name} would be of no use here: {hardware.missing}",
            "install it on a machine that has the hardware, or add --force",
        )
    if (tools := missing_tools(backend)) and not force:
        raise BackendMissing(f"building {name} needs {tools[0]}", tools[1])
    log = home.logs / f"install-{name}.log"
    return InstallPlan(name, runtime_folder(home, name), _cmake_args(backend), log)


def install_backend(
    home: Home, name: str, *, force: bool = False
) -> Generator[Event, None, dict[str, Any]]:
    """Make sure a runtime for `name` is there; one that is already there is left as it is.

    Interrupted or failed, it leaves nothing in `runtimes/`. Raises what `plan_install` raises,
    BuildFailed and LlorchError.
    """
    existing = find_runtime(home, get_backend(name))
    if existing and not force:
        yield State(name, "installed", f"served by {existing.python}; nothing to do")
        return _result(existing, built=False)
    plan = plan_install(home, name, force=force)
    yield from _build(plan)
    runtime = find_runtime(home, get_backend(name))
    if runtime is None:
        raise LlorchError(
            f"the build for {name} holds no {get_backend(name).library} library",
            f"see {plan.log}",
        )
    yield State(name, "installed", str(runtime.python))
    return _result(runtime, built=True)


def _build(plan: InstallPlan) -> Generator[Event, None, None]:
    from pool_core.backends.wheelhouse import build_wheel, find_wheel

    private_dir(plan.folder.parent)
    private_dir(plan.log.parent)
    scratch = Path(tempfile.mkdtemp(prefix=f".{plan.backend}-", dir=plan.folder.parent))
    try:
        yield State(plan.backend, "building", "virtual environment")
        _run(plan.venv_argv(scratch), plan.log)
        python = scratch / "bin" / "python"
        with closing(build_wheel(python, plan.cmake_args, plan.log)) as steps:
            for step in steps:
                yield Progress(f"building {plan.backend}", step.done, step.total, "steps")
        wheel = find_wheel(python, plan.cmake_args)
        assert wheel is not None
        _run(plan.install_argv(scratch, wheel), plan.log)
        packages = packages_folder(scratch)
        assert packages is not None
        write_overlay(packages)
        _replace(scratch, plan.folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def _replace(scratch: Path, folder: Path) -> None:
    """Put the finished runtime in its place; running workers keep the files they have open."""
    with clear_os_errors(folder):
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=".old-", dir=folder.parent))
            folder.rename(old / folder.name)
            scratch.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            scratch.rename(folder)


def _run(argv: list[str], log: Path) -> None:
    with clear_os_errors(log), log.open("ab") as output:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    if done.returncode != 0:
        raise LlorchError(f"{' '.join(argv[1:4])} failed with code {done.returncode}", f"see {log}")


def _cmake_args(backend: Backend) -> tuple[str, ...]:
    nvcc = find_nvcc()
    if backend.name == "cuda" and nvcc and shutil.which("nvcc") is None:
        return (*backend.cmake_args, f"-DCMAKE_CUDA_COMPILER={nvcc}")
    return backend.cmake_args


def _result(runtime: Runtime, *, built: bool) -> dict[str, Any]:
    return {
        "backend": runtime.backend,
        "built": built,
        "python": str(runtime.python),
        "build": runtime.build,
        "path": os.fspath(runtime.libraries),
    }
