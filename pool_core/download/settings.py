"""How patient a download is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Transport(StrEnum):
    """HTTP is our own resumable fetcher; XET leaves the transfer to huggingface_hub."""

    HTTP = "http"
    XET = "xet"


@dataclass(frozen=True, slots=True)
class DownloadSettings:
    """Times in seconds, sizes in bytes.

    It gives up after `attempts` failures in a row, or `patience_s` without a byte, whichever
    comes first; every byte that arrives starts both anew. A wait that the hub asks for is
    granted up to `longest_wait_s` and does not count.
    """

    transport: Transport = Transport.HTTP
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 15.0
    attempts: int = 6
    patience_s: float = 30.0
    backoff_s: float = 0.5
    longest_backoff_s: float = 8.0
    longest_wait_s: float = 300.0
    spare_space: int = 64 << 20
