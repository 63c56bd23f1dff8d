"""A parser that is one reading of the whole answer, resumed as more of it comes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from worker.chat.messages import Tool
from worker.chat.parsers.calls import CallWriter
from worker.chat.parsers.source import Source, Steps
from worker.chat.parts import AnswerPart, CallArguments, ReasoningPart, TextPart


class SteppedParser(ABC):
    """Implements AnswerParser: `_answer` reads the source and adds to the parts."""

    def __init__(self, tools: Sequence[Tool], *, is_open: bool) -> None:
        """`is_open`: the answer begins inside the model's thoughts."""
        self._source = Source()
        self._parts: list[AnswerPart] = []
        self._writer = CallWriter(tools, self._source, self._parts)
        self._steps = self._answer(is_open)
        next(self._steps)

    def feed(self, text: str) -> list[AnswerPart]:
        if not text:
            return []
        self._source.append(text)
        next(self._steps)
        return self._taken()

    def finish(self) -> list[AnswerPart]:
        if not self._source.is_ended:
            self._source.is_ended = True
            next(self._steps)
        return self._taken()

    def _taken(self) -> list[AnswerPart]:
        parts = merged(self._parts)
        self._parts.clear()
        return parts

    @abstractmethod
    def _answer(self, is_open: bool) -> Steps[None]:
        """All of an answer, and then nothing, for ever. Its first step only gets here: an answer
        begins with its first text."""


def merged(parts: Sequence[AnswerPart]) -> list[AnswerPart]:
    """The same with one part where several of a kind follow one another."""
    if len(parts) < 2:
        return list(parts)
    together: list[AnswerPart] = []
    texts: list[str] = []
    for index, part in enumerate(parts):
        if not isinstance(part, TextPart | ReasoningPart | CallArguments):
            together.append(part)
            continue
        texts.append(part.text)
        following = parts[index + 1] if index + 1 < len(parts) else None
        if type(following) is not type(part):
            together.append(replace(part, text="".join(texts)))
            texts.clear()
    return together
