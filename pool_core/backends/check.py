"""Trying a runtime: what llama.cpp itself says when a fresh process of it loads the library."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from pool_core.backends.descriptors import get_backend
from pool_core.backends.errors import BackendMissing
from pool_core.backends.runtime import Runtime, resolve_runtime
from pool_core.home import Home

_TIMEOUT_S = 120
_MARK = "LLORCH "

# Runs in the runtime's own process: a library that crashes takes nothing of ours with it.
_SCRIPT = """
import ctypes, importlib, json
llama_cpp = importlib.import_module("llama_cpp")
ggml = importlib.import_module("llama_cpp._ggml").libggml
count, get = ggml.ggml_backend_dev_count, ggml.ggml_backend_dev_get
count.restype, get.restype, get.argtypes = ctypes.c_size_t, ctypes.c_void_p, [ctypes.c_size_t]
def text(function, device):
    function.restype, function.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    return function(device).decode(errors="replace")
def memory(device):
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    function = ggml.ggml_backend_dev_memory
    function.restype = None
    function.argtypes = [ctypes.c_void_p] + [ctypes.POINTER(ctypes.c_size_t)] * 2
    function(device, free, total)
    return free.value, total.value
devices = []
for index in range(count()):
    device = get(index)
    free, total = memory(device)
    devices.append({"name": text(ggml.ggml_backend_dev_name, device),
                    "description": text(ggml.ggml_backend_dev_description, device),
                    "memory_free": free, "memory_total": total})
print("LLORCH " + json.dumps({
    "version": llama_cpp.__version__,
    "system_info": llama_cpp.llama_print_system_info().decode(errors="replace"),
    "gpu_offload": bool(llama_cpp.llama_supports_gpu_offload()),
    "devices": devices}))
"""


def check_backend(home: Home, name: str) -> dict[str, Any]:
    """Load llama.cpp in the runtime of `name` and report its version and devices.

    Raises UnknownName, and BackendMissing when the library does not load, or for a GPU backend
    shows no device of that kind.
    """
    runtime = resolve_runtime(home, name)
    report = _ask(runtime)
    wanted = {"cuda": "CUDA", "metal": "Metal"}.get(get_backend(name).name)
    if wanted and not any(_is(device, wanted) for device in report["devices"]):
        raise BackendMissing(
            f"llama.cpp in {runtime.python} finds no {wanted} device",
            "check the driver, then: llorch-pool doctor",
        )
    return {"backend": name, "python": str(runtime.python), "build": runtime.build} | report


def _ask(runtime: Runtime) -> dict[str, Any]:
    argv = [str(runtime.python), "-P", "-c", _SCRIPT]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise BackendMissing(
            f"llama.cpp in {runtime.python} did not load within {_TIMEOUT_S} s", _reinstall(runtime)
        ) from None
    answer = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode != 0 or not answer:
        words = [line for line in done.stderr.splitlines() if line.strip()]
        raise BackendMissing(
            f"llama.cpp in {runtime.python} does not load (exit {done.returncode}): "
            + (words[-1] if words else "it said nothing"),
            _reinstall(runtime),
        )
    report: dict[str, Any] = json.loads(answer[-1].removeprefix(_MARK))
    return report


def _is(device: dict[str, Any], kind: str) -> bool:
    return kind.lower() in f"{device['name']} {device['description']}".lower()


def _reinstall(runtime: Runtime) -> str:
    return f"build it again: llorch-pool backend install {runtime.backend} --force"
