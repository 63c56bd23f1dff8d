"""Sixteen clients whose prompts begin with the same long system prompt."""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.load import OUTPUT, span
from benchmarks.prompts import make_text
from benchmarks.samples import alternate, compared, median_of
from benchmarks.servers.server import Ask, Server, put_all
from benchmarks.session import Session
from benchmarks.table import Table

CLIENTS, TAIL = 16, 20
SYSTEM, QUICK_SYSTEM = 2000, 400
_ROOM = 176  # of each of the peer's slots, beyond the system prompt: the rest, in whole blocks


@dataclass(frozen=True, slots=True)
class Waves:
    """Tokens a second: all at once with a system prompt nobody has seen, then with the same one."""

    new: float
    known: float
    both: float
    computed: int


def run(session: Session) -> None:
    for model in session.models:
        measure(session, model)


def measure(session: Session, model: str) -> None:
    system = QUICK_SYSTEM if session.quick else SYSTEM
    context = (system + _ROOM + 255) // 256 * 256 * CLIENTS
    session.say(f"shared system prompt on {model}")
    with (
        session.worker(model, context, CLIENTS, "--no-draft") as ours,
        session.llama_server(model, context, CLIENTS) as theirs,
    ):
        found = alternate(
            session.turns,
            {
                "ours": lambda turn: offer_waves(ours, system, turn),
                "theirs": lambda turn: offer_waves(theirs, system, turn),
            },
        )
    columns = ("system prompt", "llorch tok/s", "llama-server tok/s", "ratio")
    table = Table(f"Shared system prompt of {system} tokens × {CLIENTS}, {model}", columns)
    for label, name in (("new", "new"), ("known", "known"), ("one wave each", "both")):
        rates = [[getattr(one, name) for one in found[side]] for side in ("ours", "theirs")]
        table.add(label, median_of(rates[0], 1), median_of(rates[1], 1), compared(*rates))
    table.notes.append(
        f"{CLIENTS} clients at once, tails of {TAIL} tokens all different, {OUTPUT} tokens out, "
        f"{context} cells for each server, no drafts; medians of {session.turns} turns, each with "
        f"a system prompt of its own. Prompt tokens computed in both waves: llorch "
        f"{found['ours'][-1].computed}, llama-server {found['theirs'][-1].computed}."
    )
    session.report(table)


def offer_waves(server: Server, system: int, turn: int) -> Waves:
    """Two waves of requests, the second when the first is answered."""
    prefix = make_text(system, "system", turn)
    began, rates, computed = time.perf_counter(), [], 0
    for wave in range(2):
        tails = [make_text(TAIL, turn, wave, client) for client in range(CLIENTS)]
        replies = put_all(server, [[Ask(prefix + tail, OUTPUT)] for tail in tails])
        answers = [answer for answers in replies for answer in answers]
        rates.append(CLIENTS * OUTPUT / span(answers))
        outcomes = [server.outcome(answer) for answer in answers]
        computed += sum(outcome.prompt_tokens - outcome.cached for outcome in outcomes)
    both = 2 * CLIENTS * OUTPUT / (time.perf_counter() - began)
    return Waves(rates[0], rates[1], both, computed)
