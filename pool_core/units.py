"""Numbers as a person reads them."""

from __future__ import annotations

import re

from pool_core.errors import UsageError

_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([KMGT]?)(?:i?B)?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def human_bytes(count: float) -> str:
    """1536 -> '1.5 kB'; decimal units, as disks and downloads are sold."""
    if abs(count) < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if abs(count) < 999.95:  # above, it would round to 1000.0
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"


def parse_size(text: str) -> int:
    """ "512M" -> 536870912; binary units, as memory is counted. Raises UsageError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f'"{text}" is not a size', "write 512M, 2G or 0")
    return int(float(match[1]) * (1 << 10 * _POWERS[match[2].upper()]))
