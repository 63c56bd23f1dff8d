"""`llorch pool`: the inventory, and every command of `llorch-pool` on the machines of it."""

from __future__ import annotations

import os

import typer

from llorch_ctl.answers import show_answers
from llorch_ctl.commands import inventory
from llorch_ctl.fleet import Fleet
from llorch_ctl.mirror import Request, mirror
from llorch_ctl.options import session_of
from llorch_ctl.screen import open_screen
from pool_ctl.app import app as pool_app
from pool_ctl.commands import QuickApp

_LOGS = ("worker", "logs")
_DOWNLOAD = ("models", "download")

app = QuickApp(
    help="Your machines, and everything that llorch-pool does on them.",
    epilog="\b\nWhere a command runs:\n"
    "  --pool mac --pool lab    pools or groups of the inventory; without it, this machine\n"
    "  --host me@10.0.0.7       any machine that ssh reaches\n"
    "  --all                    every pool of the inventory",
)
inventory.register(app)


def _run(ctx: typer.Context, request: Request) -> None:
    """One command on the pools it is for, all at once."""
    session = session_of(ctx)
    pools = session.inventory.select(request.pools, request.hosts, request.all_pools)
    with open_screen(session.console, pools, is_log=request.path == _LOGS) as screen:
        outcomes = Fleet(pools, session.home).run(
            (*request.path, *request.argv), screen.show, _secrets(request)
        )
    show_answers(session.console, request.path, outcomes)


def _secrets(request: Request) -> dict[str, str]:
    """The operator's hub token, for the one command that can use it."""
    token = os.environ.get("HF_TOKEN")
    return {"hf_token": token} if token and request.path == _DOWNLOAD else {}


mirror(pool_app, app, _run)
