"""What hardware is here for each backend, found without importing anything heavy."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pool_core import machine

_NVIDIA = Path("/proc/driver/nvidia/gpus")
_NVCC = Path("/usr/local/cuda/bin/nvcc")
_QUERY_TIMEOUT_S = 10
_QUERY = "index,name,memory.total,memory.free,temperature.gpu"
_MEBI = 1 << 20


@dataclass(frozen=True, slots=True)
class Gpu:
    """An NVIDIA GPU as its driver describes it. Bytes; `temperature` in Celsius or None."""

    index: int
    name: str
    memory_total: int = 0
    memory_free: int = 0
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a backend would run on: `found` describes it; "" when there is none, and `missing`
    says what is."""

    found: str
    missing: str = ""


def hardware_for(backend: str) -> Hardware:
    """Look at this machine for `backend`."""
    match backend:
        case "cuda":
            return _cuda()
        case "metal":
            return _metal()
        case "rpc":
            return Hardware("loopback")
        case _:
            return Hardware(f"{machine.cpu_name()} x{machine.load()[0]}")


def nvidia_gpus() -> list[Gpu]:
    """The GPUs of the NVIDIA driver; none without one. Asks nvidia-smi, else /proc."""
    return _from_nvidia_smi() or _from_proc()


def find_nvcc() -> Path | None:
    """The CUDA compiler."""
    if found := shutil.which("nvcc"):
        return Path(found)
    return _NVCC if os.access(_NVCC, os.X_OK) else None


def find_compiler() -> str | None:
    """A C++ compiler."""
    return next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)


def _cuda() -> Hardware:
    gpus = nvidia_gpus()
    if gpus:
        return Hardware(", ".join(gpu.name for gpu in gpus))
    return Hardware("", "no NVIDIA driver (nvidia-smi shows no GPU)")


def _metal() -> Hardware:
    if sys.platform != "darwin":
        return Hardware("", f"Metal exists only on macOS, this is {platform.system()}")
    return Hardware(platform.processor() or "Apple GPU")


def _from_nvidia_smi() -> list[Gpu]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    argv = [program, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_QUERY_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parse_nvidia_smi(done.stdout) if done.returncode == 0 else []


def parse_nvidia_smi(text: str) -> list[Gpu]:
    """The rows of nvidia-smi's CSV; a value it cannot tell ("[N/A]") is 0 or None."""
    gpus = []
    for line in text.splitlines():
        values = [value.strip() for value in line.split(",")]
        if len(values) == 5 and values[0].isdigit():
            total, free = (int(v) * _MEBI if v.isdigit() else 0 for v in values[2:4])
            degrees = float(values[4]) if values[4].isdigit() else None
            gpus.append(Gpu(int(values[0]), values[1], total, free, degrees))
    return gpus


def _from_proc() -> list[Gpu]:
    gpus = []
    for index, folder in enumerate(sorted(_NVIDIA.glob("*")) if _NVIDIA.is_dir() else []):
        lines = (folder / "information").read_text(errors="replace").splitlines()
        names = (line.partition(":")[2].strip() for line in lines if line.startswith("Model:"))
        gpus.append(Gpu(index, next(names, "NVIDIA GPU")))
    return gpus
