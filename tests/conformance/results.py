"""What came of a run, as a table for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.table import Table

# The columns: what a client can be asked to do, in the order of the table.
FEATURES = (
    "answers",
    "streams",
    "async",
    "tools",
    "schemas",
    "caching",
    "counting",
    "embeddings",
    "responses",
    "models",
    "errors",
    "retries",
)
PASSED, FAILED, ABSENT = "yes", "**no**", "–"
BEGIN, END = "<!-- conformance: begin -->", "<!-- conformance: end -->"


@dataclass(frozen=True, slots=True)
class Check:
    """One test of a suite. `feature` is one of FEATURES."""

    test: str
    feature: str
    passed: bool


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """`problem` is why the suite as a whole failed, "" if it did not."""

    client: str
    version: str
    checks: tuple[Check, ...]
    seconds: float
    problem: str = ""

    @property
    def passed(self) -> bool:
        return not self.problem and bool(self.checks) and all(c.passed for c in self.checks)

    def cell(self, feature: str) -> str:
        found = [check.passed for check in self.checks if check.feature == feature]
        if not found:
            return ABSENT
        return PASSED if all(found) else FAILED


def read_checks(file: Path) -> tuple[Check, ...]:
    """What `suites/conftest.py` wrote: one JSON line for each test."""
    if not file.exists():
        return ()
    return tuple(Check(**json.loads(line)) for line in file.read_text().splitlines())


def to_table(results: Iterable[SuiteResult]) -> Table:
    """Client × feature. Columns that nobody has are left out."""
    done = list(results)
    used = [name for name in FEATURES if any(r.cell(name) != ABSENT for r in done)]
    table = Table("Clients", ("client", "version", *used, "checks"))
    for result in done:
        good = sum(check.passed for check in result.checks)
        total = f"{good} of {len(result.checks)}" if result.checks else FAILED
        table.add(result.client, result.version, *map(result.cell, used), total)
    return table


def write_docs(page: Path, results: Sequence[SuiteResult], date: str) -> None:
    """Replace what stands between the marks."""
    head, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, mark, tail = rest.partition(END)
    if not mark:
        raise ValueError(f"{page} has no marks {BEGIN} and {END}")
    text = f"{BEGIN}\nRun on {date}.\n\n{to_table(results).to_markdown()}{END}"
    page.write_text(head + text + tail, encoding="utf-8")
