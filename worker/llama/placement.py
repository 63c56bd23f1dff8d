"""Where llama.cpp really put a model, read from what it said while it loaded.

It has no call that tells, but its log names the device of each layer and the size of each buffer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from worker.llama.devices import Device

_LAYER = re.compile(r"layer\s+\d+ assigned to device ([^,\s]+)")
_BUFFER = re.compile(r":\s+(\S+) +(?:model|KV|RS|compute) buffer size =\s+([\d.]+) MiB")
_COMPUTE = re.compile(r"compute buffer size =\s+([\d.]+) MiB")
_FALLBACK = re.compile(
    r"tensor '(\S+)' .*cannot be used with preferred buffer type (\S+), using CPU"
)


@dataclass(frozen=True, slots=True)
class Placement:
    """`compute_bytes` are the buffers that a context computes in, wherever they are.
    `fallbacks` are tensors that belong on a device and are in the CPU's memory instead."""

    layers_on_device: int
    layers_total: int
    bytes_on_device: int
    compute_bytes: int
    fallbacks: tuple[str, ...]

    @classmethod
    def read(cls, text: str, devices: Sequence[Device]) -> Placement:
        """With no devices the CPU is the device."""
        names = tuple(device.name for device in devices) or ("CPU",)
        layers = _LAYER.findall(text)
        buffers = _BUFFER.findall(text)
        return cls(
            layers_on_device=sum(layer in names for layer in layers),
            layers_total=len(layers),
            bytes_on_device=round(sum(float(s) for n, s in buffers if n.startswith(names)) * 2**20),
            compute_bytes=round(sum(map(float, _COMPUTE.findall(text))) * 2**20),
            fallbacks=tuple(
                tensor
                for tensor, wanted in _FALLBACK.findall(text)
                if devices and wanted.startswith(names)
            ),
        )

    @property
    def is_complete(self) -> bool:
        return 0 < self.layers_total == self.layers_on_device and not self.fallbacks
