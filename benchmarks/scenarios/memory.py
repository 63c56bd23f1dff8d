"""What an agent takes: private memory of the process, and the size of its file."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.prompts import make_text
from benchmarks.servers.server import Ask, Server, private_bytes, put
from benchmarks.session import Session
from benchmarks.table import Table
from pool_core.gguf import read_header
from pool_core.gguf.memory import estimate_memory

AGENTS, LENGTH = 8, 1000
SLOTS, CONTEXT = 8, 10240  # the peer fills every slot, so that any slot it saves holds an agent
_MIB = 1 << 20
_SLOT_FILE = "agent.bin"


@dataclass(frozen=True, slots=True)
class Growth:
    """Private bytes of a server before and after agents have come."""

    idle: int
    full: int


def run(session: Session) -> None:
    columns = ("model", "server", "idle MiB", f"{AGENTS} agents", "each", "file MiB", "cells MiB")
    table = Table(f"Memory of an agent of {LENGTH} tokens", columns)
    for model in session.models:
        session.say(f"memory of agents on {model}")
        with TemporaryDirectory(prefix="llorch-benchmark-") as name:
            measure(session, model, Path(name), table)
    table.notes.append(
        f"Private memory of the process (the mapped model file does not count), after one prompt "
        f"and with {AGENTS} agents; {CONTEXT} cells, {SLOTS} slots. file: on disk; cells: what its "
        "part of the context holds."
    )
    session.report(table)


def measure(session: Session, model: str, folder: Path, table: Table) -> None:
    agents, slots = folder / "agents", folder / "slots"
    slots.mkdir()
    header = read_header(session.model(model), facts_only=True)
    cells = f"{estimate_memory(header, CONTEXT).kv / CONTEXT * LENGTH / _MIB:.1f}"
    kept = ("--agents", str(agents), "--ram-cache", "2G")
    with session.worker(model, CONTEXT, SLOTS, "--no-draft", *kept) as worker:
        grown = grow(worker)
    file = _median_size(path for path in agents.rglob("*.kv"))
    table.add(model, worker.name, *_row(grown), f"{file / _MIB:.1f}", cells)
    with session.llama_server(model, CONTEXT, SLOTS, "--slot-save-path", str(slots)) as peer:
        grown = grow(peer)
        peer.slot_action("save", _SLOT_FILE)
    file = _median_size(slots.iterdir())
    table.add(model, peer.name, *_row(grown), f"{file / _MIB:.1f}", cells)


def grow(server: Server) -> Growth:
    """The first prompt is as long as the others: buffers are touched before the first look."""
    put(server, Ask(make_text(LENGTH - 1, "first"), 1))
    idle = private_bytes(server.pid)
    for number in range(AGENTS):
        put(server, Ask(make_text(LENGTH - 1, number), 1, agent=f"agent-{number}"))
    return Growth(idle, private_bytes(server.pid))


def _row(grown: Growth) -> tuple[str, str, str]:
    each = (grown.full - grown.idle) / AGENTS
    return f"{grown.idle / _MIB:.0f}", f"{grown.full / _MIB:.0f}", f"{each / _MIB:.2f}"


def _median_size(files: Iterable[Path]) -> float:
    """Bytes; 0 where there is none."""
    return statistics.median([path.stat().st_size for path in files] or [0])
