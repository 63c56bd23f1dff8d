"""What an answer is made of, as it is recognised in the text that a model writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TextPart:
    """More of what is said to the reader."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningPart:
    """More of what the model thinks to itself."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A tool call begins, number `index` of the answer."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """More of a call's arguments: the pieces together are the text of a JSON object."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    index: int


AnswerPart = TextPart | ReasoningPart | CallStart | CallArguments | CallEnd


class AnswerParser(Protocol):
    """Reads one answer as it is written. However its text is cut into pieces, the parts say the
    same: the same text, reasoning and calls in the same order."""

    def feed(self, text: str) -> list[AnswerPart]:
        """What is certain now. Never raises: what is not well formed is text."""
        ...

    def finish(self) -> list[AnswerPart]:
        """The answer has ended: what was still held back."""
        ...


class PlainParser:
    """For answers in which nothing is to be recognised."""

    def feed(self, text: str) -> list[AnswerPart]:
        return [TextPart(text)] if text else []

    def finish(self) -> list[AnswerPart]:
        return []
