"""Whether a model and its context fit into memory, before anything is allocated.

An operating system that overcommits would let the allocation pass and kill the process later.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psutil

from pool_core.gguf import GgufHeader, estimate_memory
from pool_core.spawn.report import WorkerExit
from worker.engine.runner import Layout
from worker.llama.context import Context, ContextOptions
from worker.llama.devices import Device
from worker.llama.errors import LoadError

_CGROUP = Path("/sys/fs/cgroup")


def check_fit(
    header: GgufHeader, context: ContextOptions, kv_type: str, devices: Sequence[Device]
) -> None:
    """Raises LoadError with the bytes that are needed and those available."""
    estimate = estimate_memory(
        header, context.num_cells, context.num_seqs, kv_type, batch=context.max_batch
    )
    available = free_bytes(devices)
    if available is None:
        return
    where = ", ".join(device.name for device in devices) or "memory"
    if estimate.weights > available:
        raise LoadError(
            f"the weights need {_size(estimate.weights)}, {where} has {_size(available)} free",
            WorkerExit.OUT_OF_MEMORY,
            "use a device with more memory, or a smaller model",
            needed=estimate.weights,
            available=available,
        )
    needed = estimate.weights + estimate.kv
    if needed > available:
        raise LoadError(
            f"a context of {context.num_cells} cells needs {_size(estimate.kv)} beside "
            f"{_size(estimate.weights)} of weights, {where} has {_size(available)} free",
            WorkerExit.CONTEXT_TOO_LARGE,
            "choose a smaller --ctx or a smaller --kv-type",
            needed=needed,
            available=available,
        )


def unified_buffers(layouts: Sequence[Layout], max_batch: int) -> int:
    """Bytes that a context which starts split computes in beyond those, once it is unified: which
    cells each token of a batch sees is then said of all the cells, not of a slot's share."""
    cells = max(layout.slot_cells for layout in layouts) - layouts[0].slot_cells
    return 4 * max_batch * cells


def check_unified_fits(
    layouts: Sequence[Layout], max_batch: int, devices: Sequence[Device], split: Context
) -> None:
    """Raises LoadError, having closed the split context, if a unified one in its place would be
    too large."""
    needed, available = unified_buffers(layouts, max_batch), free_bytes(devices)
    if available is None or needed <= available:
        return
    split.close()
    raise LoadError(
        f"to compute with {layouts[-1].num_cells} cells at once needs {_size(needed)} more, "
        f"{_size(available)} are free",
        WorkerExit.CONTEXT_TOO_LARGE,
        "choose a smaller --ctx, or --kv-layout split",
        needed=needed,
        available=available,
    )


def free_bytes(devices: Sequence[Device]) -> int | None:
    """What the devices have left, or this machine where there are none; None where they do not
    say, and only an allocation will."""
    if not devices:
        return available_memory()
    return sum(device.free_bytes for device in devices) or None


def available_memory() -> int:
    """Bytes that this process may still take, of the machine's and of its control group's."""
    machine = int(psutil.virtual_memory().available)
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no control group, or one without a limit
        return machine
    reclaimable = int(stat.get("inactive_file", 0))  # cached file pages count as used
    return max(0, min(machine, limit - used + reclaimable))


def _size(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
