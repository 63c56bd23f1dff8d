"""What a command came to on its pools, shown: data on stdout, errors on stderr."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from llorch_ctl.errors import PoolError, ProtocolError
from llorch_ctl.fleet import Outcome, exit_code_of
from llorch_ctl.mirror import Path, aimed_at
from pool_core.console import Console
from pool_core.errors import Cancelled, ExitCode, LlorchError


def show_answers(console: Console, path: Path, outcomes: Sequence[Outcome]) -> None:
    """Show the outcomes of a mirrored command, and leave with their exit code.

    One pool answers as `llorch-pool` would. Several share a table, and their errors get a line
    each. Raises the error of a single pool, or SystemExit.
    """
    code = exit_code_of(outcomes)
    if console.json_lines:
        data = {"pools": {outcome.pool.name: outcome.to_dict() for outcome in outcomes}}
        console.result(data, ok=all(outcome.ok for outcome in outcomes))
        raise SystemExit(int(code))
    if len(outcomes) == 1 and outcomes[0].error is not None:
        raise readdressed(outcomes[0].error, outcomes[0])
    _show_data(console, " ".join(path), outcomes)
    if len(outcomes) > 1:
        _show_failures(console, outcomes)
    raise SystemExit(int(code))  # not typer.Exit: 130 has been explained already


def _show_data(console: Console, command: str, outcomes: Sequence[Outcome]) -> None:
    from llorch_ctl.views import answer_view, answers_view  # rich is slow to import
    from pool_ctl.views import VIEWS

    view = VIEWS[command]
    try:
        if len(outcomes) == 1:
            console.print(*answer_view(view, outcomes[0]))
        else:
            console.print(*answers_view(view, outcomes))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        names = ", ".join(outcome.pool.name for outcome in outcomes if outcome.answer)
        raise ProtocolError(
            names, "answered in a form this llorch does not know", "see it with --json"
        ) from error


def _show_failures(console: Console, outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.error is not None and str(outcome.error) != str(Cancelled()):
            prefix = "" if isinstance(outcome.error, PoolError) else f"{outcome.pool.name}: "
            console.error(readdressed(outcome.error, outcome), prefix)
    words = Counter(_word_for(outcome) for outcome in outcomes)
    if words.keys() != {"ok"}:
        counts = ", ".join(f"{count} {word}" for word, count in words.items())
        console.note(f"{len(outcomes)} pools: {counts}")


def _word_for(outcome: Outcome) -> str:
    if outcome.ok:
        return "ok"
    words = {ExitCode.CANCELLED: "cancelled", ExitCode.REFUSED: "refused"}
    if outcome.exit_code is ExitCode.UNREACHABLE:
        return "lost" if outcome.error and outcome.error.code == "E_LOST" else "unreachable"
    return words.get(outcome.exit_code, "failed")


def readdressed(error: LlorchError, outcome: Outcome) -> LlorchError:
    """The error with its remedy made to be typed on this machine."""
    if error.remedy:
        error.remedy = aimed_at(error.remedy, outcome.pool)
    return error
