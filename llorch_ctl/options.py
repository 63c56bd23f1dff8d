"""Options that several commands share, and what the shell completes them with."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from llorch_ctl.context import Session
from llorch_ctl.inventory import LOCAL, Inventory
from pool_core.home import Home

WHERE = "Where"


def session_of(ctx: typer.Context) -> Session:
    """The session that `main` put into the context."""
    session = ctx.obj
    assert isinstance(session, Session)
    return session


def complete_pool(incomplete: str) -> list[str]:
    """Pools and groups of the inventory."""
    try:
        inventory = Inventory.load(Home.from_env())
    except Exception:  # a broken inventory must not break the shell's completion
        return [LOCAL]
    return [*inventory.pools, *inventory.groups, LOCAL]


def complete_target(incomplete: str) -> list[str]:
    """Workers and models of this machine; other machines are too far for a Tab."""
    home = Home.from_env()
    found = sorted(path.stem for path in home.workers.glob("*.json") if "." not in path.stem)
    with suppress(Exception):  # as above
        from pool_core.catalog import Catalog

        found += [entry.id for entry in Catalog.load(home).entries()]
    return found


# Read by `main` before parsing, so that even a usage error is JSON; declared for --help.
JsonOption = Annotated[
    bool, typer.Option("--json", help="Write JSON lines; the last one is the result.")
]
PoolsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--pool",
        "-p",
        metavar="NAME",
        help="A pool or group of the inventory; may be repeated. [default: local]",
        autocompletion=complete_pool,
        rich_help_panel=WHERE,
    ),
]
HostsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--host",
        metavar="TARGET",
        help="A machine that is not in the inventory, as ssh takes it; may be repeated.",
        rich_help_panel=WHERE,
    ),
]
AllOption = Annotated[
    bool,
    typer.Option("--all", help="Every pool of the inventory, all at once.", rich_help_panel=WHERE),
]
TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="A worker's id, or the id of a model.",
        autocompletion=complete_target,
    ),
]
