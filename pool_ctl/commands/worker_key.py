"""`llorch-pool worker key`: who may call the workers that were spawned with --keys."""

from __future__ import annotations

from typing import Annotated

import typer

from pool_core.api_keys import KeyFile
from pool_ctl.commands import QuickApp
from pool_ctl.context import Session
from pool_ctl.options import JsonOption, session_of

app = QuickApp(help="Keys for those who call workers spawned with --keys.")

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Who has it; it is in logs, the key never is.")
]


@app.command(epilog="\b\nExamples:\n  llorch-pool worker key add laptop")
def add(ctx: typer.Context, name: NameArgument, json_lines: JsonOption = False) -> None:
    """Make a key and show it, this once: only its hash is kept.

    Workers that run already know it from their next request on.
    """
    session = session_of(ctx)
    key = _file(session).add(name)
    session.show("worker key add", {"name": name, "key": key})


@app.command("list")
def list_keys(ctx: typer.Context, json_lines: JsonOption = False) -> None:
    """The names of the keys there are."""
    session = session_of(ctx)
    session.show("worker key list", {"keys": [{"name": name} for name in _file(session).load()]})


@app.command()
def remove(ctx: typer.Context, name: NameArgument, json_lines: JsonOption = False) -> None:
    """Refuse a key from now on, by workers that run already too."""
    session = session_of(ctx)
    _file(session).remove(name)
    session.show("worker key remove", {"name": name})


def _file(session: Session) -> KeyFile:
    return KeyFile(session.home.worker_keys)
