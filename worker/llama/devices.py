"""The devices that this build of llama.cpp can run layers on."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pool_core.spawn.report import WorkerExit
from worker.llama.errors import LoadError
from worker.llama.library import ggml_function

_GPU_TYPES = (1, 2)  # GGML_BACKEND_DEVICE_TYPE_GPU, _IGPU
_REGISTRIES = {"cuda": "CUDA", "metal": "MTL"}  # what ggml calls them

_ptr, _str, _size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t


def _bind(name: str, restype: Any, *argtypes: Any) -> Any:
    function = ggml_function(name, restype, *argtypes)
    assert function is not None, f"ggml has no {name}"
    return function


_dev_count = _bind("ggml_backend_dev_count", _size)
_dev_get = _bind("ggml_backend_dev_get", _ptr, _size)
_dev_by_type = _bind("ggml_backend_dev_by_type", _ptr, ctypes.c_int)
_dev_name = _bind("ggml_backend_dev_name", _str, _ptr)
_dev_description = _bind("ggml_backend_dev_description", _str, _ptr)
_dev_type = _bind("ggml_backend_dev_type", ctypes.c_int, _ptr)
_dev_reg = _bind("ggml_backend_dev_backend_reg", _ptr, _ptr)
_dev_memory = _bind(
    "ggml_backend_dev_memory", None, _ptr, ctypes.POINTER(_size), ctypes.POINTER(_size)
)
_reg_name = _bind("ggml_backend_reg_name", _str, _ptr)
_reg_dev_count = _bind("ggml_backend_reg_dev_count", _size, _ptr)
_reg_dev_get = _bind("ggml_backend_reg_dev_get", _ptr, _ptr, _size)
_register = _bind("ggml_backend_register", None, _ptr)
_rpc_add_server = ggml_function("ggml_backend_rpc_add_server", _ptr, _str)


@dataclass(frozen=True, slots=True)
class Device:
    """A ggml device. `handle` lives as long as the process."""

    handle: int
    name: str
    description: str

    @classmethod
    def of(cls, handle: int) -> Device:
        return cls(handle, _dev_name(handle).decode(), _dev_description(handle).decode())

    def __str__(self) -> str:
        return f"{self.name} ({self.description})"

    @property
    def free_bytes(self) -> int:
        free, total = _size(), _size()
        _dev_memory(self.handle, ctypes.byref(free), ctypes.byref(total))
        return free.value


def cpu_device() -> Device:
    return Device.of(_dev_by_type(0))


def select_devices(backend: str, rpc: Sequence[str], gpu: int | None) -> list[Device]:
    """Exactly the devices that a worker of this backend runs its layers on; none for `cpu`.

    Raises LoadError when this build or this machine has none such.
    """
    if backend == "cpu":
        return []
    if backend == "rpc":
        return [device for endpoint in rpc for device in _rpc_devices(endpoint)]
    found = _gpus(_REGISTRIES[backend]) if backend in _REGISTRIES else []
    if not found:
        raise _missing(backend)
    if gpu is None:
        return found
    if not 0 <= gpu < len(found):
        names = ", ".join(f"{i} {device.description}" for i, device in enumerate(found))
        raise LoadError(
            f"there is no {backend} device {gpu}",
            WorkerExit.BACKEND_MISSING,
            f"choose --gpu from: {names}",
        )
    return [found[gpu]]


def server_devices() -> list[Device]:
    """What an RPC server lends: this machine's GPUs, or its CPU when there are none.

    Raises LoadError when this build cannot serve.
    """
    if _rpc_add_server is None:
        raise _missing("rpc")
    return _gpus() or [cpu_device()]


def _gpus(registry: str | None = None) -> list[Device]:
    """The GPUs of this build, all of them or those of one of ggml's registries."""
    return [
        Device.of(handle)
        for handle in map(_dev_get, range(_dev_count()))
        if _dev_type(handle) in _GPU_TYPES
        and registry in (None, _reg_name(_dev_reg(handle)).decode())
    ]


def _rpc_devices(endpoint: str) -> list[Device]:
    """The devices behind an RPC server, which must already listen."""
    if _rpc_add_server is None:
        raise _missing("rpc")
    host, _, port = endpoint.rpartition(":")
    try:
        # ggml's own client ends the process over some connection errors: look first.
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise LoadError(
            f"no RPC server answers at {endpoint}: {error}",
            WorkerExit.BACKEND_MISSING,
            "start one with: llorch-worker rpc-server",
        ) from None
    # A server forgets its graph whenever any context frees a buffer, yet the client asks it to
    # compute "the same graph again" and aborts the process when it cannot (ggml-rpc.cpp:
    # rpc_server::free_buffer). Read when a context is made, so this is early enough.
    os.environ["LLAMA_GRAPH_REUSE_DISABLE"] = "1"
    registry = _rpc_add_server(endpoint.encode())
    if not registry:
        raise LoadError(
            f"the RPC server at {endpoint} offers no device",
            WorkerExit.BACKEND_MISSING,
            "check that it is of the same llama.cpp version",
        )
    _register(registry)
    return [Device.of(_reg_dev_get(registry, i)) for i in range(_reg_dev_count(registry))]


def _missing(backend: str) -> LoadError:
    return LoadError(
        f'this build of llama.cpp has no "{backend}" backend, or no device for it was found',
        WorkerExit.BACKEND_MISSING,
        f"llorch-pool backend install {backend}",
    )
