"""The self-test for a person: one aligned line for each check as it is done, then the findings."""

from __future__ import annotations

import sys
from typing import TextIO

from worker.self_test.result import Check, End, Progress, Report, Verdict

_ROW = "{:<18}  {:<12}  {:<7}  {:>8}  {:>6}  {:>9}  {:>13}"
_HEAD = _ROW.format("CHECK", "KIND", "RESULT", "REQUESTS", "TOKENS", "MAX DELTA", "REUSED")
_CLEAR = "\r\x1b[K"


class Table:
    """Prints to stdout; how far it is goes to stderr, if that is a terminal."""

    def __init__(self) -> None:
        self._out: TextIO = sys.stdout
        self._live: TextIO | None = sys.stderr if sys.stderr.isatty() else None
        self._findings: list[str] = []
        self._num_checks = 0

    def show(self, report: Report) -> None:
        if self._live is not None:
            self._live.write(_CLEAR)
        match report:
            case Progress(done=done, total=total):
                if self._live is not None:
                    self._live.write(f"{done}/{total} requests")
                    self._live.flush()
            case Check():
                if self._num_checks == 0:
                    print(_HEAD, file=self._out)
                self._num_checks += 1
                if report.detail:
                    self._findings.append(f"{report.name}, {report.kind}: {report.detail}")
                print(_row(report), file=self._out, flush=True)
            case End(ok=ok, seconds=seconds):
                lines = ["", *self._findings, *([""] if self._findings else [])]
                verdict = "passed" if ok else "FAILED"
                lines.append(f"{verdict}: {self._num_checks} checks in {seconds:.1f} s")
                print("\n".join(lines), file=self._out, flush=True)


def _row(check: Check) -> str:
    is_compared = check.max_delta is not None and check.verdict is not Verdict.SKIPPED
    return _ROW.format(
        check.name,
        check.kind,
        check.verdict if check.verdict is not Verdict.FAILED else "FAILED",
        check.requests or "-",
        check.tokens or "-",
        f"{check.max_delta:.2g}" if is_compared else "-",
        f"{check.cached_tokens}/{check.prompt_tokens}" if check.prompt_tokens else "-",
    ).rstrip()
