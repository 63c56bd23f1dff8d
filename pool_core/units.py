"""Numbers as a person reads them."""

from __future__ import annotations


def human_bytes(count: float) -> str:
    """1536 -> '1.5 kB'; decimal units, as disks and downloads are sold."""
    if abs(count) < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if abs(count) < 999.95:  # above, it would round to 1000.0
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"
