"""Answers in which thoughts and calls stand between marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from worker.chat.messages import Tool
from worker.chat.parsers.calls import CallReader
from worker.chat.parsers.source import Markers, Steps, markers
from worker.chat.parsers.stepped import SteppedParser
from worker.chat.parts import ReasoningPart, TextPart

_BARE = r"\n[ \t]*(?=[{\[])"


@dataclass(frozen=True, slots=True)
class ReasoningMarks:
    """What stands before thoughts and after them. Without an opener, only the prompt opens."""

    opener: str
    closer: str


class MarkedParser(SteppedParser):
    """Implements AnswerParser. Thoughts are recognised at the start of an answer, calls anywhere
    in what is said. White space around both is not text."""

    def __init__(
        self,
        reasoning: ReasoningMarks | None,
        calls: CallReader | None,
        tools: Sequence[Tool],
        *,
        opens_reasoning: bool = False,
    ) -> None:
        self._reasoning = reasoning
        self._calls = calls
        super().__init__(tools, is_open=opens_reasoning and reasoning is not None)

    def _answer(self, is_open: bool) -> Steps[None]:
        yield
        if is_open:
            yield from self._think()
        has_thoughts = self._reasoning is not None and bool(self._reasoning.opener)
        while has_thoughts and (yield from self._opens_thoughts()):
            yield from self._think()
        if self._calls is None:
            yield from self._rest()
        else:
            beginnings = _beginnings(self._calls.openers, self._calls.is_bare)
            is_call = self._calls.is_bare and (yield from self._begins_bare())
            while is_call or (yield from self._up_to(beginnings, TextPart)):
                yield from self._call(self._calls)
                is_call = False
        while True:
            yield

    def _opens_thoughts(self) -> Steps[bool]:
        assert self._reasoning is not None, "only asked where there can be thoughts"
        return (yield from self._source.spaced_literal(self._reasoning.opener))

    def _think(self) -> Steps[None]:
        assert self._reasoning is not None, "only called where there can be thoughts"
        yield from self._source.skip_space()
        if (yield from self._up_to(markers(self._reasoning.closer), ReasoningPart)):
            self._source.forget()
            yield from self._source.skip_space()

    def _begins_bare(self) -> Steps[bool]:
        self._source.mark()
        yield from self._source.skip_space()
        if (yield from self._source.peek()) in ("{", "["):
            return True
        self._source.rewind()
        return False

    def _call(self, calls: CallReader) -> Steps[None]:
        yield from calls.read(self._source, self._writer)
        text = self._source.forget()
        if text.strip():
            self._parts.append(TextPart(text))
        else:
            yield from self._source.skip_space()

    def _rest(self) -> Steps[None]:
        while (yield from self._source.peek()) != "":
            self._parts.append(TextPart(self._source.text[self._source.at :]))
            self._source.at = len(self._source.text)

    def _up_to(self, wanted: Markers, kind: type[TextPart] | type[ReasoningPart]) -> Steps[bool]:
        """Pass on text up to a marker, and read the marker; False when the end comes first. The
        source is marked where white space or the marker began."""
        source = self._source
        while True:
            match = wanted.pattern.search(source.text, source.at)
            stop = match.start() if match else wanted.held_back(source.text, source.at)
            if text := source.text[source.at : stop].rstrip():
                self._parts.append(kind(text))
                source.at += len(text)
            if match is not None:
                source.mark()
                source.at = match.end()
                return True
            if source.is_ended:
                if held := source.text[source.at :]:
                    self._parts.append(kind(held))
                    source.at = len(source.text)
                return False
            yield


@lru_cache(maxsize=64)
def _beginnings(openers: tuple[str, ...], is_bare: bool) -> Markers:
    """What calls may begin with."""
    return Markers(openers, _BARE) if is_bare else Markers(openers)
