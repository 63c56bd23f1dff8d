"""`python -m llama_cpp.server` beside the others, where it can take part: one client."""

from __future__ import annotations

from benchmarks.load import OUTPUT, Load, compare
from benchmarks.peer.venvs import llama_cpp_server_python
from benchmarks.prompts import WORDS_100
from benchmarks.servers.llama_cpp_python import LlamaCppPython
from benchmarks.session import Session
from benchmarks.table import Table

CONTEXT = 2048
_COLUMNS = (
    "model",
    "llorch tok/s",
    "llama-server",
    "llama_cpp.server",
    "to llama-server",
    "to llama_cpp.server",
    "TTFT ms",
    "llama-server",
    "llama_cpp.server",
)


def run(session: Session) -> None:
    python = llama_cpp_server_python()
    table = Table("One client, three servers", _COLUMNS)
    threads = str(session.threads)
    size = ("--n_ctx", str(CONTEXT), "--n_threads", threads, "--n_threads_batch", threads)
    for model in session.models:
        session.say(f"one client, three servers: {model}")
        with (
            session.worker(model, CONTEXT, 1, "--no-draft") as ours,
            session.llama_server(model, CONTEXT, 1) as theirs,
            LlamaCppPython(python, session.model(model), *size) as python_server,
        ):
            load = Load.usual(1, WORDS_100)
            compare(table, load, (ours, theirs, python_server), session.turns, model)
    table.notes.append(
        f"Prompts of {WORDS_100} tokens, {OUTPUT} tokens out, greedy, no drafts, {CONTEXT} cells. "
        f"llama_cpp.server runs on the same wheel as llorch and answers one request at a time. "
        f"Medians of {session.turns} turns."
    )
    session.report(table)
