"""How fast tokens come deep in a context: where attention, not the weights, takes the time."""

from __future__ import annotations

import statistics
from functools import partial

from benchmarks.prompts import make_text
from benchmarks.samples import alternate, compared, median_of
from benchmarks.servers.server import Ask, Server, put, put_all
from benchmarks.session import Session
from benchmarks.table import Table

DEPTHS, QUICK_DEPTHS = (2000, 6000), (1000,)
SLOTS, OUTPUT = 4, 32
_ROOM = 256


def run(session: Session) -> None:
    for model in session.models:
        columns = ("tokens deep", "clients", "llorch tok/s", "llama-server tok/s", "ratio")
        table = Table(f"Deep in a context, {model}", columns)
        for depth in QUICK_DEPTHS if session.quick else DEPTHS:
            session.say(f"{depth} tokens deep in a context of {model}")
            measure(session, table, model, depth)
        table.notes.append(
            f"Tokens a second after the first, {OUTPUT} of them to each client, after prompts that "
            f"are cached; {SLOTS} slots, {session.threads} threads, no drafts. Medians of "
            f"{session.turns} turns, ratios of single turns in brackets."
        )
        session.report(table)


def measure(session: Session, table: Table, model: str, depth: int) -> None:
    context = SLOTS * (depth + _ROOM)
    with (
        session.worker(model, context, SLOTS, "--no-draft") as ours,
        session.llama_server(model, context, SLOTS) as theirs,
    ):
        for server in (ours, theirs):  # so that what is timed begins with what is there
            for client in range(SLOTS):
                put(server, Ask(make_text(depth, client), 1))
        for clients in (1, SLOTS):
            sides = {
                server.name: partial(_rate, server, depth, clients) for server in (ours, theirs)
            }
            rates = alternate(session.turns, sides)
            here, there = rates[ours.name], rates[theirs.name]
            table.add(
                str(depth), str(clients), median_of(here, 1), median_of(there, 1),
                compared(here, there),
            )  # fmt: skip


def _rate(server: Server, depth: int, clients: int, turn: int) -> float:
    """Tokens a second of all clients together, without the time to each one's first token; the
    same in every turn."""
    scripts = [[Ask(make_text(depth, client), OUTPUT)] for client in range(clients)]
    answers = [answer for replies in put_all(server, scripts) for answer in replies]
    seconds = [answer.done - answer.sent - answer.ttft_s for answer in answers]
    return clients * (OUTPUT - 1) / statistics.mean(seconds)
