"""What can be known before a process is started: the file, the defaults, and whether it fits."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from ipaddress import ip_address

from pool_core import machine
from pool_core.backends.hardware import nvidia_gpus
from pool_core.errors import UsageError
from pool_core.gguf import GgufHeader, estimate_memory, read_header
from pool_core.settings import WorkerDefaults
from pool_core.spawn.errors import DoesNotFit
from pool_core.spawn.record import KV_LAYOUTS, WorkerSpec
from pool_core.units import parse_size

_BLOCK = 256  # KV cells are allocated in blocks of this


def prepare(spec: WorkerSpec, defaults: WorkerDefaults) -> WorkerSpec:
    """`spec` with every choice made. Raises UsageError for an address that would be open to all,
    a size that is none, or a layout that there is not, HeaderError for a file that is no GGUF,
    and DoesNotFit for one that needs too much memory."""
    check_address(spec)
    if spec.kv_layout and spec.kv_layout not in KV_LAYOUTS:
        raise UsageError(f'unknown KV layout "{spec.kv_layout}"', f"one of {', '.join(KV_LAYOUTS)}")
    header = read_header(spec.model_path)
    trained = header.context_length or defaults.ctx
    chosen = replace(
        spec,
        ctx=spec.ctx or min(trained, defaults.ctx),
        slots=spec.slots or defaults.slots,
        threads=spec.threads or defaults.threads,
        kv_type=spec.kv_type or defaults.kv_type,
        ram_cache=_size("--ram-cache", spec.ram_cache or defaults.ram_cache),
        disk_cache=_size("--disk-cache", spec.disk_cache or defaults.disk_cache),
    )
    check_memory(header, chosen)
    return chosen


def _size(option: str, text: str) -> str:
    """`text` as it was written, if it is a size or nothing. Raises UsageError naming the option."""
    if text:
        try:
            parse_size(text)
        except UsageError as error:
            raise UsageError(f"{option}: {error.message}", error.remedy) from None
    return text


def check_address(spec: WorkerSpec) -> None:
    """Raises UsageError where others could reach a worker that asks nobody for a token."""
    if not spec.with_token and not is_loopback(spec.host):
        raise UsageError(
            f"a worker on {spec.host} can be reached by others and needs a token",
            "add --token, or reach it on 127.0.0.1 through: llorch worker forward",
        )


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_memory(header: GgufHeader, spec: WorkerSpec) -> None:
    """Raises DoesNotFit with the bytes needed and available."""
    available, where = available_memory(spec)
    needed = estimate_memory(header, spec.ctx, spec.slots, spec.kv_type).total
    if available is None or needed <= available:
        return
    raise DoesNotFit(
        f"{spec.model} with a context of {spec.ctx} needs {_gib(needed)} and "
        f"{_gib(available)} of {where} is available",
        _smaller(header, spec, available),
        needed=needed,
        available=available,
    )


def available_memory(spec: WorkerSpec) -> tuple[int | None, str]:
    """Free bytes where the layers will be, and what to call it; None if it cannot be known."""
    if spec.rpc:
        return None, "memory on the other machines"
    if spec.backend == "cuda":
        gpus = {gpu.index: gpu for gpu in nvidia_gpus()}
        chosen = [gpus[spec.gpu]] if spec.gpu in gpus else list(gpus.values())
        free = sum(gpu.memory_free for gpu in chosen)
        return free or None, "GPU memory"
    return machine.memory().available, "RAM"


def _smaller(header: GgufHeader, spec: WorkerSpec, available: int) -> str:
    """The largest context that would fit, if one does."""

    def fits(blocks: int) -> bool:
        ctx = blocks * _BLOCK
        return estimate_memory(header, ctx, spec.slots, spec.kv_type).total <= available

    most = bisect_left(range(1, spec.ctx // _BLOCK + 1), True, key=lambda blocks: not fits(blocks))
    if most:
        return f"choose a smaller context: --ctx {most * _BLOCK}"
    return "choose a smaller model or quantisation, or stop other workers"


def _gib(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"
