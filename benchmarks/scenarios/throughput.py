"""Tokens a second, end to end through HTTP, beside llama-server."""

from __future__ import annotations

from benchmarks.load import OUTPUT, Load, compare
from benchmarks.prompts import WORDS_100
from benchmarks.session import Session
from benchmarks.table import Table

CONTEXT, SLOTS = 16384, 16


def run(session: Session) -> None:
    for model in session.models:
        measure(session, model)


def measure(session: Session, model: str) -> None:
    """Without drafts: the random models repeat themselves, and the peer does not draft."""
    columns = ("clients", "llorch tok/s", "llama-server tok/s", "ratio", "TTFT ms", "its TTFT ms")
    table = Table(f"Throughput, {model}", columns)
    share = 0.0
    with (
        session.worker(model, CONTEXT, SLOTS, "--no-draft") as ours,
        session.llama_server(model, CONTEXT, SLOTS) as theirs,
    ):
        for clients in session.clients:
            session.say(f"throughput of {model}: {clients} clients")
            load = Load.usual(clients, WORDS_100)
            share = max(share, compare(table, load, (ours, theirs), session.turns, str(clients)))
    table.notes.append(
        f"Prompts of {WORDS_100} tokens (100 words), all different, {OUTPUT} tokens out, greedy, "
        f"streamed; {session.threads} threads, {SLOTS} slots, {CONTEXT} cells; no drafts. Medians "
        f"of {session.turns} turns, ratios of single turns in brackets. The client took at most "
        f"{share:.0%} of a core."
    )
    session.report(table)
