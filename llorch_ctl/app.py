"""The command tree of `llorch`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from llorch_ctl.commands import infer, matrix, pool, worker
from llorch_ctl.context import Session
from pool_core import __version__
from pool_core.console import Console
from pool_core.home import Home
from pool_ctl import invoke
from pool_ctl.commands import QuickApp

PROGRAM = "llorch"

app = QuickApp(
    name=PROGRAM,
    add_completion=invoke.is_about_completion(PROGRAM, sys.argv, os.environ),
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
    invoke.end_politely()
    session = Session(Home.from_env(), Console(json_lines=invoke.wants_json(argv)))
    return invoke.run(app, PROGRAM, argv, session)
