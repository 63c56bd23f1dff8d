"""What it costs that the same request gets the same answer whatever else is running."""

from __future__ import annotations

from functools import partial

from benchmarks.load import OUTPUT, Load, Round, offer
from benchmarks.prompts import WORDS_100
from benchmarks.samples import alternate, compared, median_of
from benchmarks.servers.server import Server
from benchmarks.session import Session
from benchmarks.table import Table

CONTEXT, SLOTS = 16384, 16


def run(session: Session) -> None:
    for model in session.models:
        measure(session, model)


def measure(session: Session, model: str) -> None:
    columns = ("clients", "reproducible tok/s", "not tok/s", "ratio", "TTFT ms", "not TTFT ms")
    table = Table(f"Reproducible requests, {model}", columns)
    with session.worker(model, CONTEXT, SLOTS, "--no-draft") as worker:
        for clients in session.clients:
            session.say(f"reproducible requests on {model}: {clients} clients")
            found = alternate(
                session.turns,
                {
                    "yes": partial(_offer, worker, clients, True),
                    "no": partial(_offer, worker, clients, False),
                },
            )
            rates = [[one.tokens_per_s for one in found[side]] for side in ("yes", "no")]
            ttfts = [[one.ttft_s * 1e3 for one in found[side]] for side in ("yes", "no")]
            table.add(
                str(clients), *map(median_of, rates), compared(*rates), *map(median_of, ttfts)
            )
    table.notes.append(
        f"llorch beside itself: prompts of {WORDS_100} tokens, all different, {OUTPUT} tokens out, "
        f"greedy, no drafts, {session.threads} threads. Medians of {session.turns} turns."
    )
    session.report(table)


def _offer(server: Server, clients: int, reproducible: bool, turn: int) -> Round:
    """Prompts that the same server has not seen with the other setting."""
    load = Load.usual(clients, WORDS_100, reproducible=reproducible)
    return offer(server, load, 2 * turn + reproducible)
