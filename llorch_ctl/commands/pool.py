"""`llorch pool`: the inventory, and every command of `llorch-pool` on the machines of it."""

from __future__ import annotations

import typer

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Your machines, and everything on them."
)
