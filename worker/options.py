"""What the values of command-line options may be, for argparse."""

from __future__ import annotations

import argparse
import math
import re
from urllib.parse import urlsplit

from pool_core.errors import UsageError
from pool_core.units import parse_size

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Range:
    """An argparse type: an integer within bounds, both included."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def __call__(self, text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f'"{text}" is not a whole number') from None
        if not self.low <= value <= self.high:
            raise argparse.ArgumentTypeError(f"{value} is not between {self.low} and {self.high}")
        return value


def size(text: str) -> int:
    """Bytes."""
    try:
        return parse_size(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def sha256(text: str) -> str:
    if not _SHA256.fullmatch(text.lower()):
        raise argparse.ArgumentTypeError(f'"{text}" is not 64 hexadecimal digits')
    return text.lower()


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of seconds') from None
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text} s is no time to wait")
    return value


def origin(text: str) -> str:
    """Where a web page comes from, as browsers write it; "*" is every page there is."""
    parts = urlsplit(text)
    if text != "*" and (not parts.hostname or text != f"{parts.scheme}://{parts.netloc}"):
        raise argparse.ArgumentTypeError(f'"{text}" is not an origin such as https://example.org')
    return text
