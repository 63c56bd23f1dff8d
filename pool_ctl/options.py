"""Options that several commands share, and what the shell completes them with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pool_core.backends.descriptors import BACKENDS
from pool_core.home import Home
from pool_ctl.context import Session


def session_of(ctx: typer.Context) -> Session:
    """The session that `main` or `stdio` put into the context."""
    session = ctx.obj
    assert isinstance(session, Session)
    return session


def _complete_model(incomplete: str) -> list[str]:
    try:
        from pool_core.catalog import Catalog

        return [entry.id for entry in Catalog.load(Home.from_env()).entries()]
    except Exception:  # a broken catalog must not break the shell's completion
        return []


def _complete_worker(incomplete: str) -> list[str]:
    try:
        from pool_core.spawn.registry import WorkerRegistry

        return WorkerRegistry(Home.from_env()).ids()
    except Exception:  # as above
        return []


def _complete_backend(incomplete: str) -> list[str]:
    return list(BACKENDS)


# Read by `main` before parsing, so that even a usage error is JSON; declared for --help.
JsonOption = Annotated[
    bool, typer.Option("--json", help="Write JSON lines; the last one is the result.")
]

ModelArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A model's id or alias.", autocompletion=_complete_model),
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="A model's id or alias.",
        autocompletion=_complete_model,
    ),
]
CatalogOption = Annotated[
    list[Path] | None,
    typer.Option("--catalog", metavar="FILE", help="Read this catalog of yours too (repeatable)."),
]
WorkerArgument = Annotated[
    str, typer.Argument(metavar="WORKER", help="A worker's id.", autocompletion=_complete_worker)
]
BackendArgument = Annotated[
    str,
    typer.Argument(
        metavar="BACKEND",
        help=f"Where the layers run: {', '.join(BACKENDS)}.",
        autocompletion=_complete_backend,
    ),
]
