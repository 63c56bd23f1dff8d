"""Commands about the pool as a whole: `status`, `health`, `doctor` and the remote door."""

from __future__ import annotations

import typer

from pool_core.errors import ExitCode
from pool_ctl.options import JsonOption, session_of


def register(app: typer.Typer) -> None:
    """Add the commands that stand beside the groups."""
    app.command()(status)
    app.command()(health)
    app.command()(doctor)
    app.command(hidden=True)(stdio)


def status(ctx: typer.Context, json_lines: JsonOption = False) -> None:
    """This pool at a glance: models, workers, backends."""
    session = session_of(ctx)
    from pool_core.health import pool_status

    session.show("status", pool_status(session.home))


def health(ctx: typer.Context, json_lines: JsonOption = False) -> None:
    """This machine in numbers: CPU, memory, disk, GPUs, and how busy its workers are."""
    session = session_of(ctx)
    from pool_core.health import pool_health

    session.show("health", pool_health(session.home))


def doctor(ctx: typer.Context, json_lines: JsonOption = False) -> None:
    """Check that this machine is ready, and say what to do where it is not."""
    session = session_of(ctx)
    from pool_core.doctor import examine

    report = examine(session.home)
    session.show("doctor", report, ok=report["ok"])
    if not report["ok"]:
        raise typer.Exit(ExitCode.FAILED)


def stdio() -> None:
    """Answer one request of a remote `llorch` on stdin and stdout."""
    from pool_ctl.stdio import serve

    raise typer.Exit(serve())
