"""The backends llorch knows: what each needs, and how llama-cpp-python is built for it."""

from __future__ import annotations

from dataclasses import dataclass

from pool_core.errors import UnknownName


@dataclass(frozen=True, slots=True)
class Backend:
    """One kind of llama.cpp device. `library` is the ggml library that has to be installed."""

    name: str
    summary: str
    library: str
    cmake_args: tuple[str, ...]


# RPC is built into each of them: any runtime can then also serve or use remote layers. The library
# for images and sound is in none: nothing here uses it, and it is a third of the compiling.
BASE_ARGS = ("-DGGML_RPC=ON", "-DLLAVA_BUILD=OFF")

BACKENDS = {
    backend.name: backend
    for backend in (
        Backend("cpu", "this machine's processor", "ggml-cpu", BASE_ARGS),
        Backend("rpc", "another process or machine, over llama.cpp's RPC", "ggml-rpc", BASE_ARGS),
        Backend("cuda", "NVIDIA GPU", "ggml-cuda", (*BASE_ARGS, "-DGGML_CUDA=ON")),
        Backend("metal", "Apple GPU", "ggml-metal", (*BASE_ARGS, "-DGGML_METAL=ON")),
    )
}


def get_backend(name: str) -> Backend:
    """Raises UnknownName with the nearest names."""
    try:
        return BACKENDS[name]
    except KeyError:
        raise UnknownName("backend", name, BACKENDS, "llorch-pool backend list") from None
