"""What one invocation of `llorch` works with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from llorch_ctl.inventory import Inventory
from pool_core.console import Console
from pool_core.home import Home


@dataclass(frozen=True)
class Session:
    """Made once by `main`, handed to the commands through typer's context."""

    home: Home
    console: Console

    @cached_property
    def inventory(self) -> Inventory:
        """Raises ConfigError."""
        return Inventory.load(self.home)
