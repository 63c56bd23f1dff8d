"""`llorch-pool backend`: what this machine can run models on."""

from __future__ import annotations

from typing import Annotated

import typer

from pool_ctl.commands import QuickApp
from pool_ctl.options import BackendArgument, JsonOption, session_of

app = QuickApp(help="What this machine can run models on.")


@app.command("list")
def list_backends(ctx: typer.Context, json_lines: JsonOption = False) -> None:
    """Every backend: is the hardware here, is it installed, what is missing."""
    session = session_of(ctx)
    from pool_core.backends.listing import list_backends

    rows = [backend.to_dict() for backend in list_backends(session.home)]
    session.show("backend list", {"backends": rows})


@app.command(epilog="\b\nExample:\n  llorch-pool backend install cuda")
def install(
    ctx: typer.Context,
    backend: BackendArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Build it again, or where the hardware is not.")
    ] = False,
    json_lines: JsonOption = False,
) -> None:
    """Build llama.cpp for a backend; minutes. Does nothing if it is installed."""
    session = session_of(ctx)
    from pool_core.backends.install import install_backend

    work = install_backend(session.home, backend, force=force)
    session.show("backend install", session.console.run(work))


@app.command()
def check(ctx: typer.Context, backend: BackendArgument, json_lines: JsonOption = False) -> None:
    """Load llama.cpp for a backend and show the devices it finds."""
    session = session_of(ctx)
    from pool_core.backends.check import check_backend

    session.show("backend check", check_backend(session.home, backend))
