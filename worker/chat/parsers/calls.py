"""Tool calls while they are read: which tools there are, and the parts a call becomes."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from worker.chat.messages import Tool
from worker.chat.parsers.source import Source, Steps
from worker.chat.parts import AnswerPart, CallArguments, CallEnd, CallStart, TextPart

MAX_NAME = 256
"""Characters of a tool's name, and of what else stands before a call's arguments."""


class CallReader(Protocol):
    """Reads calls of one shape.

    `openers` are the texts that a call may begin with. Bare calls may also begin with a bracket at
    the start of a line.
    """

    @property
    def is_bare(self) -> bool: ...

    @property
    def openers(self) -> tuple[str, ...]: ...

    def read(self, source: Source, writer: CallWriter) -> Steps[None]:
        """Read on behind an opener (a bare call: before its bracket), as far as calls go.

        What was read since the source's mark is text: the mark is forgotten when a call starts,
        and set anew when it has ended.
        """
        ...


class CallWriter:
    """Makes the parts of calls, into `parts`; knows which tools may be called."""

    def __init__(self, tools: Sequence[Tool], source: Source, parts: list[AnswerPart]) -> None:
        self._schemas = {tool.name: tool.parameters for tool in tools}
        self._source = source
        self._parts = parts
        self._index = -1

    def known(self, name: str) -> str | None:
        """The tool that is meant; None when there is no such."""
        name = name.strip()
        if name in self._schemas:
            return name
        short = name.removeprefix("functions.")
        return short if short in self._schemas else None

    def schema(self, name: str) -> Mapping[str, Any]:
        return self._schemas[name]

    def start(self, name: str) -> None:
        self._source.forget()
        self._index += 1
        self._parts.append(CallStart(self._index, f"call_{secrets.token_hex(12)}", name))

    def arguments(self, text: str) -> None:
        if text:
            self._parts.append(CallArguments(self._index, text))

    def text(self, text: str) -> None:
        """What turned out to be no part of a call."""
        self._parts.append(TextPart(text))

    def end(self) -> None:
        self._parts.append(CallEnd(self._index))
        self._source.mark()
