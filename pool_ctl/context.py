"""What one invocation of a command works with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pool_core.console import Console
from pool_core.home import Home
from pool_core.settings import Settings

if TYPE_CHECKING:  # pydantic is slow to import, and looking at workers needs no catalog
    from pool_core.catalog import Catalog


@dataclass(frozen=True)
class Session:
    """The pool's home, the console to answer on, and secrets that came with the request.

    Made once by `main` or `stdio`, and handed to the commands through typer's context.
    """

    home: Home
    console: Console
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    @cached_property
    def settings(self) -> Settings:
        return Settings.load(self.home.config_file)

    def catalog(self, extra: Sequence[Path] | None = None) -> Catalog:
        """Every model known here, those of the files `extra` included."""
        from pool_core.catalog import Catalog

        return Catalog.load(self.home, extra or ())

    @property
    def hub_token(self) -> str | None:
        """The hub's token: from the request, else from the environment."""
        return self.secrets.get("hf_token") or os.environ.get("HF_TOKEN")

    def show(self, view: str, data: dict[str, Any], *, ok: bool = True) -> None:
        """Answer with `data`; a person sees it through the view of that name."""
        if self.console.json_lines:
            self.console.result(data, ok=ok)
            return
        from pool_ctl.views import VIEWS  # rich is slow to import; only people need it

        self.console.result(data, VIEWS[view], ok=ok)
