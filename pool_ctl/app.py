"""The command tree of `llorch-pool`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from pool_core import __version__
from pool_core.console import Console
from pool_core.home import Home
from pool_ctl import invoke
from pool_ctl.commands import QuickApp, backend, models, pool, worker
from pool_ctl.context import Session

PROGRAM = "llorch-pool"


app = QuickApp(
    name=PROGRAM,
    add_completion=invoke.is_about_completion(PROGRAM, sys.argv, os.environ),
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
    invoke.end_politely()
    return run(argv, Session(Home.from_env(), Console(json_lines=invoke.wants_json(argv))))


def run(argv: Sequence[str], session: Session) -> int:
    """Run one command line in `session`, show what went wrong, and return the exit code."""
    return invoke.run(app, PROGRAM, argv, session)
