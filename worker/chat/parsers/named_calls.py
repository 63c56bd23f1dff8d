"""Calls that are a tool's name, a mark, and the arguments as JSON."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from worker.chat.parsers.calls import MAX_NAME, CallWriter
from worker.chat.parsers.json_reader import read_value
from worker.chat.parsers.source import Source, Steps

FENCE = "```"


@dataclass(frozen=True, slots=True)
class NamedCalls:
    """Implements CallReader. `section_opener` comes once before the first call, `section_closer`
    after the last; `separator` is between name and arguments, `number` between the name and the
    separator where calls are counted ("0" stands for the number). All are the template's texts,
    with their white space; it may be missing in an answer."""

    opener: str
    separator: str
    closer: str = ""
    section_opener: str = ""
    section_closer: str = ""
    number: str = ""

    @property
    def is_bare(self) -> bool:
        return False

    @property
    def openers(self) -> tuple[str, ...]:
        return tuple(text.strip() for text in (self.section_opener, self.opener) if text.strip())

    def read(self, source: Source, writer: CallWriter) -> Steps[None]:
        yield from source.spaced_literal(self.opener.strip())
        while (yield from self._call(source, writer)):
            source.mark()
            if not (yield from source.spaced_literal(self.opener.strip())):
                break
        else:
            return
        if self.section_closer and (yield from source.spaced_literal(self.section_closer.strip())):
            source.mark()

    def _call(self, source: Source, writer: CallWriter) -> Steps[bool]:
        head = yield from source.until(("{",), 2 * MAX_NAME)
        if head is None:
            return False
        match = _head(self.separator.strip()).fullmatch(head)
        name = match and writer.known(match["name"])
        if not name:
            return False
        writer.start(name)
        rest = yield from read_value(source, writer.arguments)
        writer.end()
        if rest and (yield from source.peek()) != "":
            writer.text(rest)
        if FENCE in self.separator:
            yield from source.spaced_literal(FENCE)
        if self.closer.strip(f"{FENCE}\n "):
            yield from source.spaced_literal(self.closer.strip(f"{FENCE}\n "))
        return True


@lru_cache(maxsize=64)
def _head(separator: str) -> re.Pattern[str]:
    """What stands before the arguments: the name, perhaps counted, perhaps with the call's id."""
    behind = r"(?::\d+)?\s*(?:\[CALL_ID\]\s*\w*\s*)?" + re.escape(separator) + r"\s*"
    return re.compile(r"\s*(?P<name>\S+?)" + behind)
