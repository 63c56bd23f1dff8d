"""What this machine could run, what is installed for it, and what is missing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pool_core.backends.descriptors import BACKENDS, Backend, get_backend
from pool_core.backends.hardware import find_compiler, find_nvcc, hardware_for
from pool_core.backends.runtime import find_runtime
from pool_core.home import Home


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """One backend on this machine.

    `available`: the hardware is here. `installed`: a runtime is here, run by `python`, of
    version `build`. A worker can be spawned when both are true; else `reason` and `remedy` say
    what is missing and what to do about it.
    """

    name: str
    summary: str
    hardware: str
    available: bool
    installed: bool
    reason: str = ""
    remedy: str = ""
    python: str = ""
    build: str = ""

    @property
    def is_ready(self) -> bool:
        return self.available and self.installed

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"ready": self.is_ready}


def list_backends(home: Home) -> list[BackendInfo]:
    return [describe_backend(home, name) for name in BACKENDS]


def describe_backend(home: Home, name: str) -> BackendInfo:
    """Raises UnknownName."""
    backend = get_backend(name)
    hardware = hardware_for(name)
    runtime = find_runtime(home, backend)
    reason, remedy = _missing(backend, hardware.missing, runtime is not None)
    return BackendInfo(
        name=name,
        summary=backend.summary,
        hardware=hardware.found,
        available=bool(hardware.found),
        installed=runtime is not None,
        reason=reason,
        remedy=remedy,
        python=str(runtime.python) if runtime else "",
        build=runtime.build if runtime else "",
    )


def _missing(backend: Backend, hardware: str, installed: bool) -> tuple[str, str]:
    if hardware:
        return hardware, "use a machine that has it"
    if installed:
        return "", ""
    if tools := missing_tools(backend):
        return f"not installed, and building it needs {tools[0]}", tools[1]
    return "not installed", f"llorch-pool backend install {backend.name}"


def missing_tools(backend: Backend) -> tuple[str, str] | None:
    """What a build for `backend` lacks here, and how to get it; None if it lacks nothing."""
    if find_compiler() is None:
        return (
            "a C++ compiler",
            "install one (Debian: apt install build-essential; macOS: xcode-select --install)",
        )
    if backend.name == "cuda" and find_nvcc() is None:
        return "the CUDA compiler nvcc", "install the CUDA toolkit (developer.nvidia.com/cuda)"
    return None
