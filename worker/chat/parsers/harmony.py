"""Answers in channels, as gpt-oss writes them: thoughts, what is said, and calls are messages of
their own, each with a head."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from worker.chat.messages import Tool
from worker.chat.parsers.calls import MAX_NAME
from worker.chat.parsers.json_reader import read_value
from worker.chat.parsers.source import Steps, markers
from worker.chat.parsers.stepped import SteppedParser
from worker.chat.parts import ReasoningPart, TextPart

START, CHANNEL, MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
_ENDS = ("<|end|>", "<|call|>", "<|return|>", START)
_RECIPIENT = re.compile(r"\bto=(\S+?)(?=<\||\s|$)")
_CHANNEL = re.compile(re.escape(CHANNEL) + r"\s*(\w+)")
_MAX_HEAD = 3 * MAX_NAME


@dataclass(frozen=True, slots=True)
class HarmonyCalls:
    """The shape of calls in channels; there is only one."""


class HarmonyParser(SteppedParser):
    """Implements AnswerParser. What has no head is said to the reader."""

    def __init__(self, tools: Sequence[Tool], *, opens_reasoning: bool = False) -> None:
        self._has_tools = bool(tools)
        super().__init__(tools, is_open=opens_reasoning)

    def _answer(self, is_open: bool) -> Steps[None]:
        yield
        if is_open:
            yield from self._body(ReasoningPart)
        while (yield from self._source.peek()) != "":
            yield from self._message()
        while True:
            yield

    def _message(self) -> Steps[None]:
        source = self._source
        source.mark()
        head = yield from self._head()
        if head is None:
            source.rewind()
            source.mark()
            if (yield from source.spaced_literal(START)):
                self._parts.append(TextPart(source.forget()))
            else:
                source.rewind()
            yield from self._body(TextPart)
            return
        recipient = _RECIPIENT.search(head)
        channel = _CHANNEL.search(head)
        name = recipient and self._has_tools and self._writer.known(recipient[1])
        if name:
            yield from self._call(name)
        elif channel is not None and channel[1] == "analysis":
            source.forget()
            yield from self._body(ReasoningPart)
        else:
            # To somebody who is not there: shown as it was written.
            text = source.forget()
            if recipient is not None:
                self._parts.append(TextPart(text))
            yield from self._body(TextPart)

    def _head(self) -> Steps[str | None]:
        """What stands before a message's text; None when the text is none that has a head."""
        source = self._source
        for beginning in (START, CHANNEL, "to="):
            if (yield from source.spaced_literal(beginning)):
                source.at -= len(beginning)
                break
        else:
            return None
        head = yield from source.until((MESSAGE,), _MAX_HEAD)
        if head is not None:
            yield from source.literal(MESSAGE)
        return head

    def _call(self, name: str) -> Steps[None]:
        source = self._source
        yield from source.skip_space()
        if (yield from source.peek()) != "{":
            self._parts.append(TextPart(source.forget()))
            yield from self._body(TextPart)
            return
        self._writer.start(name)
        rest = yield from read_value(source, self._writer.arguments)
        self._writer.end()
        source.forget()
        if rest and (yield from source.peek()) != "":
            self._writer.text(rest)
        yield from source.skip_space()
        yield from self._body(TextPart)

    def _body(self, kind: type[TextPart] | type[ReasoningPart]) -> Steps[None]:
        """Pass on a message's text and read its end."""
        source = self._source
        ends = markers(*_ENDS)
        while True:
            match = ends.pattern.search(source.text, source.at)
            stop = match.start() if match else ends.held_back(source.text, source.at)
            if stop > source.at:
                self._parts.append(kind(source.text[source.at : stop]))
                source.at = stop
            if match is not None:
                # The next message's head begins with it.
                source.at = stop if match.group() == START else match.end()
                return
            if not (yield from source.more()):
                if held := source.text[source.at :]:
                    self._parts.append(kind(held))
                    source.at = len(source.text)
                return
