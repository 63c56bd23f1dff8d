"""The command tree of `llorch`, and the one place where its errors become exit codes."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from types import FrameType
from typing import Annotated

import typer

from llorch_ctl.commands import infer, matrix, pool, worker
from llorch_ctl.context import Session
from pool_core import __version__
from pool_core.console import Console
from pool_core.errors import Cancelled, ExitCode, UsageError
from pool_core.home import Home
from pool_ctl.app import wants_json
from pool_ctl.failures import as_error

PROGRAM = "llorch"

app = typer.Typer(
    name=PROGRAM,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Test and serve local GGUF models across the machines you already own.",
    epilog="\b\nFirst steps:\n"
    "  llorch matrix run                              do models, backends and answers hold?\n"
    "  llorch pool add mac me@mac.lan                 a machine you reach by ssh\n"
    "  llorch pool models list --all                  what every machine can serve\n"
    "  llorch pool worker spawn metal -m qwen -p mac  serve one there\n"
    '  llorch infer qwen "Why is the sky blue?"       ask it, from here',
)
app.add_typer(matrix.app, name="matrix")
app.add_typer(pool.app, name="pool")
app.add_typer(worker.app, name="worker")
infer.register(app)


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
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    session = Session(Home.from_env(), Console(json_lines=wants_json(argv)))
    try:
        return _invoke(argv, session)
    except SystemExit as stop:  # typer leaves so when nobody reads its output any more
        return stop.code if isinstance(stop.code, int) else ExitCode.FAILED
    except BaseException as problem:
        error = as_error(problem, session.home)
        session.console.error(error)
        return error.exit_code


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
