"""Checks of what a pool needs, each with a remedy where it fails."""

from __future__ import annotations

import importlib.util
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from pool_core import __version__, machine
from pool_core.backends.descriptors import BACKENDS
from pool_core.backends.hardware import find_compiler, find_nvcc, nvidia_gpus
from pool_core.backends.listing import describe_backend
from pool_core.backends.runtime import find_runtime
from pool_core.catalog import Catalog, ModelStore
from pool_core.errors import LlorchError
from pool_core.gguf import read_header
from pool_core.home import Home, private_dir
from pool_core.settings import Settings
from pool_core.spawn.errors import DamagedRecord
from pool_core.spawn.registry import WorkerRegistry
from pool_core.spawn.spawner import Spawner

_ENOUGH_DISK = 5 * 1000**3
_ENOUGH_MEMORY = 2 * 1000**3
_HOT = 75.0
_LEAST_PYTHON = (3, 11)


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `remedy` is what to do, "" when nothing is wrong."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


def examine(home: Home) -> dict[str, Any]:
    """Run every check; `ok` unless one failed. A check that breaks is a failed one."""
    checks = [_guarded(name, check, home) for name, check in CHECKS.items()]
    return {
        "ok": all(check.verdict is not Verdict.FAIL for check in checks),
        "checks": [asdict(check) for check in checks],
    }


def _guarded(name: str, check: Callable[[Home], Check], home: Home) -> Check:
    try:
        return check(home)
    except LlorchError as error:
        return Check(name, Verdict.FAIL, error.message, error.remedy or "")


def _python(home: Home) -> Check:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info >= _LEAST_PYTHON:
        return Check("python", Verdict.OK, found)
    return Check("python", Verdict.FAIL, found, "install Python 3.11 or newer")


def _home(home: Home) -> Check:
    try:
        private_dir(home.data)
        with tempfile.TemporaryFile(dir=home.data):
            pass
    except OSError as error:
        reason = f"{home.data}: {error.strerror}"
        return Check("home", Verdict.FAIL, reason, "correct its owner, or set LLORCH_HOME")
    return Check("home", Verdict.OK, f"{home.data} (llorch {__version__})")


def _settings(home: Home) -> Check:
    Settings.load(home.config_file)
    written = home.config_file if home.config_file.exists() else "defaults, no config.toml"
    return Check("settings", Verdict.OK, str(written))


def _disk(home: Home) -> Check:
    free = machine.disk_free(home.data)
    found = f"{free / 1000**3:.1f} GB free"
    if free >= _ENOUGH_DISK:
        return Check("disk", Verdict.OK, found)
    return Check("disk", Verdict.WARN, found, "models are large: llorch-pool models remove MODEL")


def _memory(home: Home) -> Check:
    memory = machine.memory()
    found = f"{memory.available / 1000**3:.1f} of {memory.total / 1000**3:.1f} GB available"
    if memory.available >= _ENOUGH_MEMORY:
        return Check("memory", Verdict.OK, found)
    return Check("memory", Verdict.WARN, found, "stop workers: llorch-pool worker stop-all")


def _temperature(home: Home) -> Check:
    degrees = machine.temperature()
    if degrees is None:
        return Check("temperature", Verdict.OK, "no sensor to read")
    found = f"{degrees:.0f} °C"
    if degrees < _HOT:
        return Check("temperature", Verdict.OK, found)
    return Check("temperature", Verdict.WARN, found, "let it cool: hot machines slow down")


def _engine(home: Home) -> Check:
    if importlib.util.find_spec("llama_cpp") is None:
        return Check("llama.cpp", Verdict.FAIL, "not installed", "llorch-pool backend install cpu")
    runtimes = {name: find_runtime(home, backend) for name, backend in BACKENDS.items()}
    builds = [f"{name} {runtime.build}" for name, runtime in runtimes.items() if runtime]
    if runtimes["cpu"] is None:
        remedy = "llorch-pool backend install cpu"
        return Check("llama.cpp", Verdict.FAIL, "no CPU library in its build", remedy)
    return Check("llama.cpp", Verdict.OK, ", ".join(builds))


def _rpc(home: Home) -> Check:
    info = describe_backend(home, "rpc")
    if info.is_ready:
        return Check("rpc", Verdict.OK, "built in")
    return Check("rpc", Verdict.WARN, info.reason, info.remedy)


def _gpu(home: Home) -> Check:
    if gpus := nvidia_gpus():
        info = describe_backend(home, "cuda")
        names = ", ".join(gpu.name for gpu in gpus)
        if info.installed:
            return Check("gpu", Verdict.OK, names)
        return Check("gpu", Verdict.WARN, f"{names}, but cuda is {info.reason}", info.remedy)
    metal = describe_backend(home, "metal")
    if metal.available:
        verdict = Verdict.OK if metal.installed else Verdict.WARN
        return Check("gpu", verdict, metal.hardware, metal.remedy)
    return Check("gpu", Verdict.OK, "none; workers run on the CPU")


def _compiler(home: Home) -> Check:
    found = find_compiler()
    if found is None:
        remedy = "only for `backend install`: apt install build-essential, xcode-select --install"
        return Check("compiler", Verdict.WARN, "no C++ compiler", remedy)
    nvcc = find_nvcc()
    return Check("compiler", Verdict.OK, f"{found}, nvcc {nvcc}" if nvcc else found)


def _models(home: Home) -> Check:
    store = ModelStore(home)
    usable = [entry for entry in Catalog.load(home).entries() if store.state(entry).is_usable]
    broken = [problem for entry in usable if (problem := _header_problem(store, entry))]
    if broken:
        return Check("models", Verdict.FAIL, "; ".join(broken), "llorch-pool models verify MODEL")
    if not usable:
        remedy = "llorch-pool models catalog, then: llorch-pool models download MODEL"
        return Check("models", Verdict.WARN, "none is here", remedy)
    return Check("models", Verdict.OK, ", ".join(entry.id for entry in usable))


def _header_problem(store: ModelStore, entry: Any) -> str:
    try:
        read_header(store.path(entry))
    except LlorchError as error:
        return error.message
    return ""


def _workers(home: Home) -> Check:
    registry = WorkerRegistry(home)
    if damaged := list(_damaged(registry)):
        return Check("workers", Verdict.FAIL, damaged[0].message, damaged[0].remedy or "")
    records = Spawner(home).list()
    if failed := [record.id for record in records if not record.is_alive]:
        remedy = f"llorch-pool worker logs {failed[0]}, then: llorch-pool worker stop {failed[0]}"
        return Check("workers", Verdict.WARN, f"failed: {', '.join(failed)}", remedy)
    return Check("workers", Verdict.OK, f"{len(records)} running")


def _damaged(registry: WorkerRegistry) -> Iterator[DamagedRecord]:
    for worker in registry.ids():
        try:
            registry.load(worker)
        except DamagedRecord as error:
            yield error
        except LlorchError:  # removed since it was listed
            continue


def _limits(home: Home) -> Check:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft} open files"
    if soft == resource.RLIM_INFINITY or soft >= 1024:
        return Check("limits", Verdict.OK, found)
    return Check("limits", Verdict.WARN, found, "raise it: ulimit -n 4096")


CHECKS: dict[str, Callable[[Home], Check]] = {
    "python": _python,
    "home": _home,
    "settings": _settings,
    "disk": _disk,
    "memory": _memory,
    "temperature": _temperature,
    "llama.cpp": _engine,
    "rpc": _rpc,
    "gpu": _gpu,
    "compiler": _compiler,
    "models": _models,
    "workers": _workers,
    "limits": _limits,
}
