"""Where the news of a fleet goes while it works: rows, lines, a log, or JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from llorch_ctl.fleet import Phase
from llorch_ctl.inventory import Pool
from pool_core.console import Console
from pool_core.events import Event, Log
from pool_core.wording import plain


class Screen(Protocol):
    """Used from one thread, inside the `with` of `open_screen`."""

    def show(self, pool: Pool, news: Event | Phase) -> None: ...


def open_screen(
    console: Console, pools: Sequence[Pool], *, is_log: bool = False
) -> AbstractContextManager[Screen]:
    """The screen that fits: `is_log` is for commands whose log lines are what was asked for."""
    if console.json_lines:
        return nullcontext(_JsonScreen(console))
    several = len(pools) > 1
    if is_log:
        return nullcontext(_LogScreen(several))
    if sys.stderr.isatty() and (several or not pools[0].is_local):
        from llorch_ctl.views import FleetView  # rich is slow to import

        return FleetView(pools)
    return _LineScreen(several)


class _JsonScreen:
    """Every event as a line that names its pool."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def show(self, pool: Pool, news: Event | Phase) -> None:
        if not isinstance(news, Phase):
            self._console.relay(news, pool.name)


class _LogScreen:
    """Log lines on stdout, with the pool before each when there are several."""

    def __init__(self, several: bool) -> None:
        self._several = several

    def show(self, pool: Pool, news: Event | Phase) -> None:
        if isinstance(news, Log):
            label = f"[{pool.name}] " if self._several else ""
            print(plain(label + news.msg), flush=True)


class _LineScreen:
    """As `llorch-pool` shows it: bars for one pool on a terminal, else a line now and then."""

    def __init__(self, several: bool) -> None:
        from pool_core.live import LiveView  # rich is slow to import

        self._several = several
        self._view = LiveView()

    def __enter__(self) -> _LineScreen:
        self._view.__enter__()
        return self

    def __exit__(self, *ending: object) -> None:
        self._view.__exit__(None, None, None)

    def show(self, pool: Pool, news: Event | Phase) -> None:
        if not isinstance(news, Phase):
            self._view.show(news, pool.name if self._several else "")
