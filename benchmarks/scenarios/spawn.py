"""From starting the process to the first token."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from benchmarks.prompts import make_text
from benchmarks.samples import alternate, compared, median_of
from benchmarks.servers.server import Ask, Server, put_when_ready
from benchmarks.session import Session
from benchmarks.table import Table

CONTEXT, SLOTS = 4096, 4


def run(session: Session) -> None:
    table = Table(
        "From exec to the first token", ("model", "llorch ms", "llama-server ms", "ratio")
    )
    for model in session.models:
        session.say(f"spawn to first token: {model}")
        sides = {
            "ours": partial(spawn, partial(session.worker, model, CONTEXT, SLOTS)),
            "theirs": partial(spawn, partial(session.llama_server, model, CONTEXT, SLOTS)),
        }
        times = list(alternate(session.turns, sides).values())
        table.add(model, *map(median_of, times), compared(*times))
    table.notes.append(
        f"The model in the page cache, {CONTEXT} cells; a prompt of 16 tokens, sent again every "
        f"5 ms until it is answered. Medians of {session.turns} turns."
    )
    session.report(table)


def spawn(start: Callable[[], Server], turn: int) -> float:
    """Milliseconds. The process has ended when this returns."""
    began = time.perf_counter()
    server = start()
    try:
        answer = put_when_ready(server, Ask(make_text(16, turn), 1))
    finally:
        server.close()
    return (answer.first - began) * 1e3
