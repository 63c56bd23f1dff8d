"""Running a typer application as a program: parse, run, and turn what goes wrong into an exit code.

`llorch-pool` and `llorch` both run so. This is the one place where errors end.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Protocol

import typer

from pool_core.console import Console
from pool_core.errors import Cancelled, ExitCode, UsageError
from pool_core.home import Home
from pool_ctl.failures import as_error


class Session(Protocol):
    """What a program hands to its commands; here it only tells where errors go."""

    @property
    def home(self) -> Home: ...
    @property
    def console(self) -> Console: ...


def is_about_completion(program: str, argv: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether typer's completion options are needed. Where they are not, leaving them out halves
    the start-up: typer checks even the absent ones with pydantic, which is slow to import."""
    asked = {"--help", "--install-completion", "--show-completion"}
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    return variable in env or not asked.isdisjoint(argv)


def wants_json(argv: Sequence[str]) -> bool:
    """Whether --json is among the options; known before parsing, so usage errors are JSON too."""
    options = argv[: argv.index("--")] if "--" in argv else argv
    return "--json" in options


def end_politely() -> None:
    """A terminal that closed or a polite kill is a Ctrl-C: what was started is stopped."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays in force
            signal.signal(number, _interrupt)


def run(app: typer.Typer, program: str, argv: Sequence[str], session: Session) -> int:
    """Run one command line in `session`, show what went wrong, and return the exit code."""
    try:
        return _invoke(app, program, argv, session)
    except SystemExit as stop:  # typer leaves so when nobody reads its output any more
        return stop.code if isinstance(stop.code, int) else ExitCode.FAILED
    except BaseException as problem:
        error = as_error(problem, session.home)
        session.console.error(error)
        return error.exit_code


def _invoke(app: typer.Typer, program: str, argv: Sequence[str], session: Session) -> int:
    command = typer.main.get_command(app)
    try:
        code = command.main(args=list(argv), prog_name=program, standalone_mode=False, obj=session)
    except typer.TyperException as problem:
        return _refuse(problem, program, session)
    except typer.Abort:
        raise Cancelled() from None
    if code == ExitCode.CANCELLED:  # how typer reports a KeyboardInterrupt
        raise Cancelled()
    return code if isinstance(code, int) else ExitCode.OK


def _refuse(problem: typer.TyperException, program: str, session: Session) -> int:
    """A command line that cannot be parsed; a bare group is a question, and help the answer."""
    message = problem.format_message()
    if message.startswith("Usage:") and not session.console.json_lines:
        typer.echo(message)
        return ExitCode.USAGE
    context = getattr(problem, "ctx", None)
    path = context.command_path if context else program
    text = message.rstrip(".") if not message.startswith("Usage:") else "which command?"
    raise UsageError(text[:1].lower() + text[1:], f"see: {path} --help")


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
