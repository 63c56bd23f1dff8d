"""Text that repeats itself, at one client: what drafts win."""

from __future__ import annotations

from benchmarks.load import Load, compare
from benchmarks.session import Session
from benchmarks.table import Table

CONTEXT, SLOTS = 16384, 16
PROMPT, OUTPUT = 16, 192


def run(session: Session) -> None:
    for model in session.models:
        measure(session, model)


def measure(session: Session, model: str) -> None:
    """The random models, asked greedily, say one word for ever."""
    session.say(f"repetitive text on {model}")
    columns = ("clients", "llorch tok/s", "llama-server tok/s", "ratio", "TTFT ms", "its TTFT ms")
    table = Table(f"Text that repeats, {model}", columns)
    with (
        session.worker(model, CONTEXT, SLOTS) as ours,
        session.llama_server(model, CONTEXT, SLOTS) as theirs,
    ):
        for clients in (1,) if session.quick else (1, 4):
            load = Load(clients, requests=2, prompt=PROMPT, output=OUTPUT)
            compare(table, load, (ours, theirs), session.turns, str(clients))
    table.notes.append(
        f"Prompts of {PROMPT} tokens, {OUTPUT} tokens out, greedy: one word repeated. llorch with "
        f"its drafts, llama-server as it comes. Medians of {session.turns} turns."
    )
    session.report(table)
