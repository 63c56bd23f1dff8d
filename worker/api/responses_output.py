"""The output of `/v1/responses`: an answer's parts, dealt out to items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from worker.api.responses_items import Call, Message, OutputItem, Reasoning, Record
from worker.chat.parts import (
    AnswerPart,
    CallArguments,
    CallEnd,
    CallStart,
    ReasoningPart,
    TextPart,
)
from worker.engine.events import TokenEvent


class Output:
    """Every method gives the events of what it did, without their sequence numbers.

    `items` are those that have begun. With `seals_thoughts` clients can give them back that keep
    nothing but `encrypted_content`.
    """

    def __init__(self, *, seals_thoughts: bool = False) -> None:
        self.items: list[Record] = []
        self._seals_thoughts = seals_thoughts
        self._open: OutputItem | None = None

    def add(self, parts: Iterable[AnswerPart], tokens: Sequence[TokenEvent]) -> list[Record]:
        """`tokens` are those that the text among the parts was made of."""
        events: list[Record] = []
        left = list(tokens)
        for part in parts:
            match part:
                case TextPart():
                    events += self._say(part.text, left)
                    left = []
                case ReasoningPart():
                    events += self._think(part.text)
                case CallStart():
                    events += self._begin(Call(len(self.items), part.id, part.name))
                case CallArguments() if self._open is not None:
                    events += self._open.grow(part.text)
                case CallEnd():
                    events += self._end("completed")
        return events

    def finish(self, *, is_complete: bool) -> list[Record]:
        """The answer has ended; one with nothing in it is an empty message."""
        events = [] if self.items else self._begin(Message(0))
        return events + self._end("completed" if is_complete else "incomplete")

    def _say(self, text: str, tokens: list[TokenEvent]) -> list[Record]:
        events: list[Record] = []
        message = self._open
        if not isinstance(message, Message):
            message = Message(len(self.items))
            events = self._begin(message)
        return events + message.say(text, tokens)

    def _think(self, text: str) -> list[Record]:
        events: list[Record] = []
        thoughts = self._open
        if not isinstance(thoughts, Reasoning):
            thoughts = Reasoning(len(self.items), is_sealed=self._seals_thoughts)
            events = self._begin(thoughts)
        return events + thoughts.grow(text)

    def _begin(self, item: OutputItem) -> list[Record]:
        events = self._end("completed")
        self._open = item
        self.items.append(item.record)
        return events + item.begin()

    def _end(self, status: str) -> list[Record]:
        item, self._open = self._open, None
        return [] if item is None else item.end(status)
