"""The command tree of `llorch-pool`, and the one place where its errors become exit codes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Annotated

import typer

from pool_core import __version__
from pool_core.console import Console
from pool_core.errors import Cancelled, ExitCode, UsageError
from pool_core.home import Home
from pool_ctl.commands import QuickApp, backend, models, pool, worker
from pool_ctl.context import Session
from pool_ctl.failures import as_error

PROGRAM = "llorch-pool"


def is_about_completion(program: str, argv: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether typer's completion options are needed. Where they are not, leaving them out halves
    the start-up: typer checks even the absent ones with pydantic, which is slow to import."""
    asked = {"--help", "--install-completion", "--show-completion"}
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    return variable in env or not asked.isdisjoint(argv)


app = QuickApp(
    name=PROGRAM,
    add_completion=is_about_completion(PROGRAM, sys.argv, os.environ),
    help="Models, workers and backends of this machine.",
    epilog="\b\nFirst steps:\n"
    "  llorch-pool doctor                                  is this machine ready?\n"
    "  llorch-pool models list                             what it can serve\n"
    "  llorch-pool worker spawn cpu --model ref-llama      serve one\n"
    "  llorch-pool worker stop-all",
)
app.add_typer(models.app, name="models")
app.add_typer(worker.app, name="worker")
app.add_typer(backend.app, name="backend")
pool.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Options of the program itself; every command has its own."""


def main(argv: Sequence[str]) -> int:
    """Run one command line for a person or a script; returns the exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays in force
            signal.signal(number, _interrupt)
    return run(argv, Session(Home.from_env(), Console(json_lines=wants_json(argv))))


def run(argv: Sequence[str], session: Session) -> int:
    """Run one command line in `session`, show what went wrong, and return the exit code."""
    try:
        return _invoke(argv, session)
    except SystemExit as stop:  # typer leaves so when nobody reads its output any more
        return stop.code if isinstance(stop.code, int) else ExitCode.FAILED
    except BaseException as problem:
        error = as_error(problem, session.home)
        session.console.error(error)
        return error.exit_code


def wants_json(argv: Sequence[str]) -> bool:
    """Whether --json is among the options; known before parsing, so usage errors are JSON too."""
    options = argv[: argv.index("--")] if "--" in argv else argv
    return "--json" in options


def _invoke(argv: Sequence[str], session: Session) -> int:
    command = typer.main.get_command(app)
    try:
        code = command.main(args=list(argv), prog_name=PROGRAM, standalone_mode=False, obj=session)
    except typer.TyperException as problem:
        return _refuse(problem, session)
    except typer.Abort:
        raise Cancelled() from None
    if code == ExitCode.CANCELLED:  # how typer reports a KeyboardInterrupt
        raise Cancelled()
    return code if isinstance(code, int) else ExitCode.OK


def _refuse(problem: typer.TyperException, session: Session) -> int:
    """A command line that cannot be parsed; a bare group is a question, and help the answer."""
    message = problem.format_message()
    if message.startswith("Usage:") and not session.console.json_lines:
        typer.echo(message)
        return ExitCode.USAGE
    context = getattr(problem, "ctx", None)
    path = context.command_path if context else PROGRAM
    text = message.rstrip(".") if not message.startswith("Usage:") else "which command?"
    raise UsageError(text[:1].lower() + text[1:], f"see: {path} --help")


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """A terminal that closed or a polite kill is a Ctrl-C: what was started is stopped."""
    raise KeyboardInterrupt
