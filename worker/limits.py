"""How much a worker takes upon itself, and from whom: the part of its command line about that."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from typing import Any, Self

from worker.options import Range, seconds, size

QUEUE_ORDERS = ("fifo", "priority")
_MAX_RATE = 10**9


@dataclass(frozen=True, slots=True)
class Limits:
    """Rates and `key_concurrency` of 0 are none.

    `queue` requests may wait beside those that run. A request may have a body of `max_body` bytes,
    which has to arrive within `body_timeout_s`, and `max_headers` bytes of headers, which have to
    within `header_timeout_s`. Rates are a minute's, of all callers together and of each key;
    `key_concurrency` is how many requests of one key may be in flight.
    """

    queue: int = 64
    queue_order: str = "fifo"
    max_body: int = 8 << 20
    body_timeout_s: float = 60.0
    max_headers: int = 64 << 10
    header_timeout_s: float = 30.0
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    key_requests_per_minute: int = 0
    key_tokens_per_minute: int = 0
    key_concurrency: int = 0

    @classmethod
    def of(cls, options: argparse.Namespace) -> Self:
        """From what `add_limit_options` had parsed."""
        return cls(**{f.name: getattr(options, f.name) for f in fields(cls)})


def add_limit_options(parser: argparse.ArgumentParser) -> None:
    defaults = Limits()

    def add(option: str, name: str, help: str = "", **kwargs: Any) -> None:
        default = getattr(defaults, name)
        parser.add_argument(option, dest=name, default=default, help=help, **kwargs)

    count, rate = Range(0, 1 << 16), Range(0, _MAX_RATE)
    add("--queue", "queue", "most that wait; default: 64", type=count, metavar="N")
    add("--queue-order", "queue_order", "who is next; default: fifo", choices=QUEUE_ORDERS)
    add("--max-body", "max_body", "of a request; default: 8M", type=size, metavar="SIZE")
    add("--body-timeout", "body_timeout_s", "default: 60", type=seconds, metavar="SECONDS")
    add("--max-headers", "max_headers", "default: 64K", type=size, metavar="SIZE")
    add("--header-timeout", "header_timeout_s", "default: 30", type=seconds, metavar="SECONDS")
    for who, words in (("", "of all callers"), ("key-", "of one key")):
        for what in ("requests", "tokens"):
            option = f"{who}{what}-per-minute"
            name = option.replace("-", "_")
            add(f"--{option}", name, f"{words}; default: any", type=rate, metavar="N")
    help = "requests of one key in flight; default: any"
    add("--key-concurrency", "key_concurrency", help, type=count, metavar="N")
