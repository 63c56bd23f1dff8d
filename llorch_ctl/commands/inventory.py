"""`llorch pool add`, `remove`, `list` and `trust`: which machines there are, and who they are."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llorch_ctl.options import JsonOption, complete_pool, session_of
from llorch_ctl.pools_file import add_pool, remove_pool
from pool_core.errors import UsageError

NameArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A pool's name.", autocompletion=complete_pool),
]
FingerprintOption = Annotated[
    str | None,
    typer.Option(
        metavar="SHA256:…", help="Trust the host key with this fingerprint, and no other."
    ),
]
YesOption = Annotated[
    bool, typer.Option("--yes", "-y", help="Trust the host keys that are shown, unasked.")
]


def register(app: typer.Typer) -> None:
    """Add the commands that are llorch's own."""
    app.command(
        epilog="\b\nExamples:\n"
        "  llorch pool add mac mac.lan\n"
        "  llorch pool add lab me@10.0.0.7:2222 --identity-file ~/.ssh/id_lab --label cuda"
    )(add)
    app.command()(remove)
    app.command("list")(list_pools)
    app.command()(trust)


def add(
    ctx: typer.Context,
    name: NameArgument,
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="A Host of ~/.ssh/config, or user@host:port."),
    ],
    identity_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="The key to log in with.")
    ] = None,
    proxy_jump: Annotated[
        str | None, typer.Option("--jump", metavar="TARGET", help="Go through this host.")
    ] = None,
    command: Annotated[
        str | None, typer.Option(metavar="PATH", help="Where llorch-pool is on that machine.")
    ] = None,
    known_hosts: Annotated[
        str | None, typer.Option(metavar="FILE", help="Look host keys up here, not in ~/.ssh.")
    ] = None,
    ssh_config: Annotated[
        str | None, typer.Option(metavar="FILE", help="Read this, not ~/.ssh/config.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="WORD", help="A word about it (repeatable).")
    ] = None,
    fingerprint: FingerprintOption = None,
    yes: YesOption = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Write it down without connecting.")
    ] = False,
    json_lines: JsonOption = False,
) -> None:
    """Add a machine to the inventory: check who it is, log in, and write it down."""
    session = session_of(ctx)
    options: dict[str, Any] = {
        "identity_file": identity_file,
        "proxy_jump": proxy_jump,
        "command": command,
        "known_hosts": known_hosts,
        "ssh_config": ssh_config,
        "labels": label,
    }
    from llorch_ctl.introduce import introduce, say_hello

    table = {"ssh": target} | {key: value for key, value in options.items() if value}
    pool = session.inventory.draft(name, table)
    found: dict[str, Any] = {}
    if not (no_check or pool.is_local):
        introduce(session, pool, fingerprint, yes)
        found = say_hello(session, pool)
    add_pool(session.home, name, table)
    session.console.note(f"added {name} to {session.home.pools_file}", style="green")
    session.console.result({"name": name, "ssh": target, **found})


def remove(
    ctx: typer.Context,
    name: NameArgument,
    json_lines: JsonOption = False,
) -> None:
    """Take a machine out of the inventory; on the machine itself nothing changes."""
    session = session_of(ctx)
    remove_pool(session.home, name)
    session.console.note(f"removed {name} from {session.home.pools_file}", style="green")
    session.console.result({"name": name})


def list_pools(ctx: typer.Context, json_lines: JsonOption = False) -> None:
    """The inventory. For the state of the machines: llorch pool status --all"""
    session = session_of(ctx)
    data = {"pools": session.inventory.rows()}
    if session.console.json_lines:
        session.console.result(data)
        return
    from llorch_ctl.views import pools_view  # rich is slow to import

    session.console.result(data, pools_view)


def trust(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="A pool of the inventory.", autocompletion=complete_pool
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(metavar="TARGET", help="A machine that is not in the inventory.")
    ] = None,
    fingerprint: FingerprintOption = None,
    yes: YesOption = False,
    json_lines: JsonOption = False,
) -> None:
    """Get to know a machine's host keys: fetch them, show them, and write them down.

    They go into llorch's own known_hosts; the files of ssh are read and never written.
    """
    session = session_of(ctx)
    if (name is None) == (host is None):
        raise UsageError("say which machine: a NAME or --host TARGET", "see: llorch pool list")
    pool = session.inventory.ad_hoc(host) if host else session.inventory.get(name or "")
    if pool.is_local:
        raise UsageError(f'"{pool.name}" is this machine; nobody is in between')
    from llorch_ctl.introduce import introduce

    session.console.result({"name": pool.name, "hosts": introduce(session, pool, fingerprint, yes)})
