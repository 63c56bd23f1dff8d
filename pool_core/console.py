"""The one place that prints: data to stdout, everything about it to stderr.

A command hands over data and a view of it; the mode decides whether a person sees a rich table or
a program sees JSON lines that end in exactly one `result` or `error`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import Any, TextIO, TypeVar

from pool_core.errors import LlorchError
from pool_core.events import Error, Event, Result, to_json
from pool_core.wording import plain

T = TypeVar("T")
View = Callable[[dict[str, Any]], Iterable[Any]]

_PIPE_WIDTH = 10_000  # a pipe has no width: nothing is wrapped, cut or left out


class Console:
    """Renders events and results in one of two modes: for a person, or as JSON lines."""

    def __init__(self, *, json_lines: bool = False, out: TextIO | None = None) -> None:
        self.json_lines = json_lines
        self._out = out or sys.stdout

    def run(self, work: Generator[Event, None, T]) -> T:
        """Drive `work`, showing its events as they come, and return what it returns.

        However this ends, `work` is closed and has undone what it leaves unfinished.
        """
        with closing(work):
            if self.json_lines:
                return self._drive(work, self.emit)
            from pool_core.live import LiveView  # rich is slow to import; only people need it

            with LiveView() as view:
                return self._drive(work, view.show)

    @staticmethod
    def _drive(work: Generator[Event, None, T], show: Callable[[Event], None]) -> T:
        while True:
            try:
                show(next(work))
            except StopIteration as stop:
                result: T = stop.value
                return result

    def emit(self, event: Event) -> None:
        """Write one event as a JSON line."""
        self._out.write(to_json(event) + "\n")
        self._out.flush()

    def relay(self, event: Event, pool: str) -> None:
        """Write an event that a pool sent as a JSON line that names the pool."""
        self._out.write(to_json(event, pool=pool) + "\n")
        self._out.flush()

    def result(self, data: dict[str, Any], view: View | None = None, *, ok: bool = True) -> None:
        """Show the outcome. `view` yields rich renderables for a person; None prints nothing."""
        if self.json_lines:
            self.emit(Result(ok, data))
        elif view is not None:
            self.print(*view(data))

    def print(self, *renderables: Any) -> None:
        """Print rich renderables on stdout, for a person."""
        console = make_rich(self._out)
        for renderable in renderables:
            console.print(renderable)

    def note(self, text: str, style: str = "dim") -> None:
        """Say something beside the data: on stderr, and not at all in JSON mode."""
        if not self.json_lines:
            make_rich(sys.stderr).print(plain(text), style=style, markup=False, highlight=False)

    def error(self, error: LlorchError, prefix: str = "") -> None:
        """The last word of a failed command: one line, the remedy last."""
        if self.json_lines:
            self.emit(Error.of(error))
            return
        console = make_rich(sys.stderr)
        console.print("error:", style="bold red", end=" ", highlight=False)
        console.print(plain(prefix + str(error)), markup=False, highlight=False, soft_wrap=True)


def make_rich(file: TextIO) -> Any:
    """A rich console on `file`; when piped it neither wraps tables to 80 nor adds colour."""
    from rich.console import Console as RichConsole

    width = None if file.isatty() else _PIPE_WIDTH
    return RichConsole(file=file, width=width, highlight=False, emoji=False)
