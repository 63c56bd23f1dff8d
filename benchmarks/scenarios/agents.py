"""An agent that returns: from the context, from memory, and from disk after a restart."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.prompts import make_text
from benchmarks.samples import alternate, median_of
from benchmarks.servers.llama_server import LlamaServer
from benchmarks.servers.server import Ask, Server, put
from benchmarks.servers.worker import Worker
from benchmarks.session import Session
from benchmarks.table import Table

LENGTHS, QUICK_LENGTHS = (512, 2048, 4096), (512,)
TAIL, LONG_TAIL = 1, 8  # tokens that an agent adds when it returns
_STRANGER = 640  # tokens of another agent: with them the first no longer fits into the context
_ROOM = 512
_SLOT_FILE = "agent.bin"

WAYS = ("cold", "hot", f"hot, {LONG_TAIL} more", "warm", "disk")


@dataclass(slots=True)
class Returns:
    """One agent's life. `seconds` to the first token and `cached` tokens, by the way it came."""

    seconds: dict[str, float] = field(default_factory=dict)
    cached: dict[str, int] = field(default_factory=dict)

    def visit(self, way: str, server: Server, prompt: str, agent: str, before_s: float = 0) -> None:
        """Ask for one token. `before_s` is what had to be done first, for this to work."""
        answer, outcome = put(server, Ask(prompt, 1, agent=agent))
        self.seconds[way] = before_s + answer.ttft_s
        self.cached[way] = outcome.cached


def run(session: Session) -> None:
    for model in session.models:
        for length in QUICK_LENGTHS if session.quick else LENGTHS:
            session.say(f"returning agents on {model}: {length} tokens")
            measure(session, model, length)


def measure(session: Session, model: str, length: int) -> None:
    with TemporaryDirectory(prefix="llorch-benchmark-") as name:
        lives = _Lives(session, model, length, Path(name))
        found = alternate(session.turns, {"ours": lives.ours, "theirs": lives.theirs})
    session.report(_table(session, model, length, found["ours"], found["theirs"]))


class _Lives:
    """Each call lives through all ways to return, with servers of its own."""

    def __init__(self, session: Session, model: str, length: int, folder: Path) -> None:
        self._session, self._model, self._folder = session, model, folder
        self._length, self._context = length, length + _ROOM

    def ours(self, turn: int) -> Returns:
        found, agent = Returns(), f"agent-{turn}"
        prompt = make_text(self._length, turn)
        with self._worker() as worker:
            self._warm_up(worker)
            found.visit("cold", worker, prompt, agent)
            found.visit("hot", worker, prompt + make_text(TAIL, "hot"), agent)
            found.visit(WAYS[2], worker, prompt + make_text(LONG_TAIL, "more"), agent)
            put(worker, Ask(make_text(_STRANGER, "stranger", turn), 1, agent=f"stranger-{turn}"))
            found.visit("warm", worker, prompt + make_text(TAIL, "warm"), agent)
        with self._worker() as worker:
            self._warm_up(worker)
            found.visit("disk", worker, prompt + make_text(TAIL, "disk"), agent)
        return found

    def theirs(self, turn: int) -> Returns:
        """It keeps nothing over a restart by itself: its slot is saved and restored by hand."""
        found, prompt = Returns(), make_text(self._length, turn)
        with self._peer() as server:
            self._warm_up(server)
            found.visit("cold", server, prompt, "")
            found.visit("hot", server, prompt + make_text(TAIL, "hot"), "")
            found.visit(WAYS[2], server, prompt + make_text(LONG_TAIL, "more"), "")
            server.slot_action("save", _SLOT_FILE)
            put(server, Ask(make_text(_STRANGER, "stranger", turn), 1))
            found.visit("warm", server, prompt + make_text(TAIL, "warm"), "")
        with self._peer() as server:
            self._warm_up(server)
            restored = server.slot_action("restore", _SLOT_FILE)
            found.visit("disk", server, prompt + make_text(TAIL, "disk"), "", restored)
        return found

    def _worker(self) -> Worker:
        kept = ("--agents", str(self._folder / "agents"), "--ram-cache", "2G")
        return self._session.worker(self._model, self._context, 1, "--no-draft", *kept)

    def _peer(self) -> LlamaServer:
        saved = ("--slot-save-path", str(self._folder))
        return self._session.llama_server(self._model, self._context, 1, *saved)

    @staticmethod
    def _warm_up(server: Server) -> None:
        """The first request of a process also pays for its first touch of everything."""
        put(server, Ask(make_text(16, "warm-up"), 1))


def _table(
    session: Session, model: str, length: int, ours: list[Returns], theirs: list[Returns]
) -> Table:
    columns = ("way", "llorch ms", "of cold", "cached", "llama-server ms", "of cold", "cached")
    table = Table(f"An agent of {length} tokens returns, {model}", (*columns, "ratio"))
    for way in WAYS:
        sides = [[life.seconds[way] * 1e3 for life in side] for side in (ours, theirs)]
        cells: list[str] = []
        for side, times in zip((ours, theirs), sides, strict=True):
            cold = statistics.median(life.seconds["cold"] for life in side) * 1e3
            share = f"1/{cold / statistics.median(times):.0f}"
            cells += [median_of(times, 1), share, str(side[-1].cached[way])]
        here, there = map(statistics.median, sides)
        table.add(way, *cells, f"{here / there:.2f}")
    table.notes += [
        f"Time to the first token, seen by the client; medians of {session.turns} turns. The agent "
        f"adds {TAIL} token when it returns, or as many as said. One slot of {length + _ROOM} "
        f"cells, {session.threads} threads.",
        "hot: its cells are still in the context. warm: another agent has taken its place, and it "
        "comes back from memory (llama-server: from its prompt cache). disk: the server was "
        "stopped and started; the file is in the page cache (llama-server: with the time of the "
        "explicit restore of its slot).",
    ]
    return table
