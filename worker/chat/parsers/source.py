"""The text of an answer while it comes: what is there can be read, for the rest one waits."""

from __future__ import annotations

import re
from collections.abc import Generator
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Something being read. It yields when more text is needed, and is resumed when there is some."""

_SPACE = re.compile(r"\s*")


class Source:
    """A cursor in text that grows. Every reading depends on the text alone, never on how it was
    cut: where more text could change the outcome, it waits for it.

    After `mark`, what is read can still be had as it was, until `forget`.
    """

    __slots__ = ("_mark", "at", "is_ended", "text")

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.is_ended = False
        self._mark: int | None = None

    def append(self, text: str) -> None:
        keep = self.at if self._mark is None else self._mark
        self.text = self.text[keep:] + text
        self.at -= keep
        if self._mark is not None:
            self._mark = 0

    def mark(self) -> None:
        self._mark = self.at

    def forget(self) -> str:
        """What was read since the mark, if there is one."""
        read = "" if self._mark is None else self.text[self._mark : self.at]
        self._mark = None
        return read

    def rewind(self) -> None:
        """Back to the mark."""
        assert self._mark is not None, "nothing was marked"
        self.at, self._mark = self._mark, None

    def more(self) -> Steps[bool]:
        """Wait for any text beyond what is there; False at the end. May move the cursor's index,
        so indexes must not be kept over it."""
        if self.is_ended:
            return False
        yield  # resumed with more text, or at the end
        return not self.is_ended

    def peek(self) -> Steps[str]:
        """The next character, or "" at the end."""
        while self.at >= len(self.text):
            if not (yield from self.more()):
                return ""
        return self.text[self.at]

    def skip_space(self) -> Steps[str]:
        """Read over white space; returns it."""
        skipped: list[str] = []
        while True:
            match = _SPACE.match(self.text, self.at)
            assert match is not None
            skipped.append(match.group())
            self.at = match.end()
            if self.at < len(self.text) or not (yield from self.more()):
                return "".join(skipped)

    def literal(self, wanted: str) -> Steps[bool]:
        """Read `wanted` if it is what comes next, else nothing."""
        while True:
            there = self.text[self.at : self.at + len(wanted)]
            if there == wanted:
                self.at += len(wanted)
                return True
            if not wanted.startswith(there) or not (yield from self.more()):
                return False

    def closing(self, wanted: str) -> Steps[bool]:
        """As `literal`; where the end comes within `wanted`, what there is of it is read too."""
        if (yield from self.literal(wanted)):
            return True
        if self.is_ended and wanted.startswith(self.text[self.at :]):
            self.at = len(self.text)
            return True
        return False

    def spaced_literal(self, wanted: str) -> Steps[bool]:
        """White space, then `wanted`; or else nothing is read."""
        offset = 0
        while True:
            match = _SPACE.match(self.text, self.at + offset)
            assert match is not None
            offset = match.end() - self.at
            there = self.text[self.at + offset : self.at + offset + len(wanted)]
            if there == wanted:
                self.at += offset + len(wanted)
                return True
            if not wanted.startswith(there) or not (yield from self.more()):
                return False

    def until(self, stops: tuple[str, ...], limit: int) -> Steps[str | None]:
        """Read up to the first of the stops, not over it. None, and nothing is read, when there
        is none within `limit` characters. No stop may hold another beyond its first character."""
        stop = markers(*stops)
        while True:
            match = stop.pattern.search(self.text, self.at)
            if match is not None and match.start() - self.at <= limit:
                found = self.text[self.at : match.start()]
                self.at = match.start()
                return found
            if match is not None or stop.held_back(self.text, self.at) - self.at > limit:
                return None
            if not (yield from self.more()):
                return None


class Markers:
    """Texts that are looked for: the earliest of them, and of several that begin there the
    longest."""

    __slots__ = ("_firsts", "_longest", "_texts", "pattern")

    def __init__(self, texts: tuple[str, ...], *patterns: str) -> None:
        """`patterns` are regular expressions that are looked for as well."""
        escaped = [re.escape(text) for text in sorted(texts, key=len, reverse=True)]
        self.pattern = re.compile("|".join([*patterns, *escaped]))
        self._texts = texts
        self._longest = max(map(len, texts), default=0)
        firsts = "".join(sorted({text[0] for text in texts}))
        self._firsts = re.compile(f"[{re.escape(firsts)}]" if firsts else r"(?!)")

    def held_back(self, text: str, start: int) -> int:
        """Where in `text`, from `start` on, the beginning of a marker may be that is not yet all
        there; its length when nowhere."""
        at = max(start, len(text) - self._longest + 1)
        while (match := self._firsts.search(text, at)) is not None:
            tail = text[match.start() :]
            if any(marker.startswith(tail) for marker in self._texts):
                return match.start()
            at = match.start() + 1
        return len(text)


@lru_cache(maxsize=256)
def markers(*texts: str) -> Markers:
    return Markers(texts)
