"""What our worker imports until it is ready, by `python -X importtime`."""

from __future__ import annotations

from collections import Counter

from benchmarks.session import Session
from benchmarks.table import Table

_MARK = "import time:"
_SHOWN = 15


def run(session: Session) -> None:
    for model in session.models:
        with session.worker(model, 1024, 1, python=("-X", "importtime")) as worker:
            log = worker.process.log
        session.report(summary(log))


def summary(log: str) -> Table:
    """The packages that take the longest, each with its own modules only."""
    micros, modules = own_times(log)
    columns = ("package", "ms", "modules")
    table = Table("What the worker imports until it is ready", columns)
    for package, total in micros.most_common(_SHOWN):
        table.add(package, f"{total / 1e3:.1f}", str(modules[package]))
    table.add("all", f"{micros.total() / 1e3:.0f}", str(modules.total()))
    table.notes.append(
        "`python -X importtime`, which itself slows imports; each module's own time."
    )
    return table


def own_times(log: str) -> tuple[Counter[str], Counter[str]]:
    """Microseconds and number of modules, by top-level package."""
    micros: Counter[str] = Counter()
    modules: Counter[str] = Counter()
    for line in log.splitlines():
        fields = line.removeprefix(_MARK).split("|")
        if not line.startswith(_MARK) or not fields[0].strip().isdigit():
            continue
        package = fields[2].strip().partition(".")[0]
        micros[package] += int(fields[0])
        modules[package] += 1
    return micros, modules
