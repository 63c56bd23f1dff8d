"""The commands of `llorch-pool`, and the kind of typer application they are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


class QuickApp(typer.Typer):
    """A typer application that starts up fast.

    typer converts the values of options with pydantic, whose import takes as long as everything
    else together, and it does so even for the absent `--help`. With a default that needs no
    conversion a command without arguments never imports it. Help is plain text for the same
    reason, and reads the same in a pipe.
    """

    def __init__(self, **settings: Any) -> None:
        common = {"no_args_is_help": True, "pretty_exceptions_enable": False}
        super().__init__(cls=QuickGroup, rich_markup_mode=None, **common | settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        return super().command(name, cls=QuickCommand, **settings)


class QuickCommand(TyperCommand):
    def get_help_option(self, ctx: Any) -> Any:
        return _quick(super().get_help_option(ctx))


class QuickGroup(TyperGroup):
    def get_help_option(self, ctx: Any) -> Any:
        return _quick(super().get_help_option(ctx))


def _quick(option: Any) -> Any:
    if option is not None:
        option.default = False
    return option
