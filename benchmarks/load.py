"""A load of several clients, and what it came to."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.client import Answer
from benchmarks.prompts import make_text
from benchmarks.samples import alternate, compared, median_of
from benchmarks.servers.server import Ask, Server, put_all
from benchmarks.table import Table

OUTPUT = 48


@dataclass(frozen=True, slots=True)
class Load:
    """`clients` at once, each sending `requests` one after the other."""

    clients: int
    requests: int
    prompt: int
    output: int = OUTPUT
    reproducible: bool = False

    @classmethod
    def usual(cls, clients: int, prompt: int, *, reproducible: bool = False) -> Load:
        """Few clients send more each, so that a turn lasts long enough to be timed."""
        return cls(clients, max(2, 4 // clients), prompt, reproducible=reproducible)

    def scripts(self, turn: int) -> list[list[Ask]]:
        """All prompts differ, within a turn and between turns; the peer need not look for them."""
        return [
            [
                Ask(
                    make_text(self.prompt, turn, self.clients, client, number),
                    self.output,
                    reproducible=self.reproducible,
                    reuse=False,
                )
                for number in range(self.requests)
            ]
            for client in range(self.clients)
        ]


@dataclass(frozen=True, slots=True)
class Round:
    """What a load came to. `client_share` is the client's own use of one core."""

    tokens_per_s: float
    ttft_s: float
    client_share: float


def offer(server: Server, load: Load, turn: int) -> Round:
    """Put the whole load on the server and wait until all is answered."""
    scripts = load.scripts(turn)
    tokens = sum(ask.tokens for script in scripts for ask in script)
    return timed(server, scripts, tokens)


def timed(server: Server, scripts: Sequence[Sequence[Ask]], tokens: int) -> Round:
    """Tokens a second from the first request sent to the last answer complete."""
    cpu = time.process_time()
    answers = [answer for replies in put_all(server, scripts) for answer in replies]
    cpu = time.process_time() - cpu
    seconds = span(answers)
    ttft = statistics.median(answer.ttft_s for answer in answers)
    return Round(tokens / seconds, ttft, cpu / seconds)


def span(answers: Sequence[Answer]) -> float:
    return max(answer.done for answer in answers) - min(answer.sent for answer in answers)


def compare(table: Table, load: Load, servers: Sequence[Server], turns: int, label: str) -> float:
    """Add a row: the rates of all servers, and the first one's ratio to each other one.

    Columns: label, a rate for each, a ratio for each but the first, TTFT of each. Returns the
    client's largest share of a core.
    """
    sides = {server.name: partial(offer, server, load) for server in servers}
    rounds = alternate(turns, sides)
    rates = [[one.tokens_per_s for one in rounds[server.name]] for server in servers]
    ttfts = [[one.ttft_s * 1e3 for one in rounds[server.name]] for server in servers]
    ratios = [compared(rates[0], other) for other in rates[1:]]
    table.add(label, *map(median_of, rates), *ratios, *map(median_of, ttfts))
    return max(one.client_share for found in rounds.values() for one in found)
