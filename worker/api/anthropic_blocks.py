"""An answer cut into Anthropic's content blocks, as events of a stream; and a message put together
again from those events, so that both say the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic_core import from_json

from worker.api.anthropic_history import ID_PREFIX
from worker.api.anthropic_prompt import Thoughts
from worker.api.thoughts import sign
from worker.chat.parts import (
    AnswerPart,
    CallArguments,
    CallEnd,
    CallStart,
    ReasoningPart,
    TextPart,
)

Record = dict[str, Any]

_EMPTY_TEXT: Record = {"text": "", "citations": None}


class BlockWriter:
    """Parts of one answer in, events out. One block is open at a time; text that is only white
    space between two others is none."""

    def __init__(self, thoughts: Thoughts) -> None:
        self._thoughts = thoughts
        self._index = -1
        self._open = ""  # the type of the block that is open
        self._blank = ""  # white space that may turn out to begin a text
        self._hidden: list[str] = []

    def read(self, parts: Iterable[AnswerPart]) -> Iterator[Record]:
        for part in parts:
            match part:
                case TextPart():
                    yield from self._text(part.text)
                case ReasoningPart():
                    yield from self._thought(part.text)
                case CallStart():
                    block = {"id": ID_PREFIX + part.id, "name": part.name, "input": {}}
                    yield from self._begin("tool_use", block)
                case CallArguments():
                    yield self._delta("input_json_delta", "partial_json", part.text)
                case CallEnd():
                    yield from self._end()

    def finish(self) -> Iterator[Record]:
        """The answer has ended. An empty one is one empty text, since clients look at the first
        block of whatever comes."""
        yield from self._end()
        if self._index < 0:
            blank = self._blank
            yield from self._begin("text", _EMPTY_TEXT)
            if blank:
                yield self._delta("text_delta", "text", blank)
            yield from self._end()

    def _text(self, text: str) -> Iterator[Record]:
        if self._open != "text":
            text = self._blank + text
            if text.isspace():
                self._blank = text
                return
            yield from self._begin("text", _EMPTY_TEXT)
        yield self._delta("text_delta", "text", text)

    def _thought(self, text: str) -> Iterator[Record]:
        if self._thoughts is Thoughts.LEFT_OUT:
            return
        if self._open != "thinking":
            yield from self._begin("thinking", {"thinking": "", "signature": ""})
        if self._thoughts is Thoughts.OMITTED:
            self._hidden.append(text)
        else:
            yield self._delta("thinking_delta", "thinking", text)

    def _begin(self, kind: str, fields: Record) -> Iterator[Record]:
        yield from self._end()
        self._index += 1
        self._open, self._blank = kind, ""
        block = {"type": kind} | fields
        yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _delta(self, kind: str, field: str, value: str) -> Record:
        delta = {"type": kind, field: value}
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _end(self) -> Iterator[Record]:
        if not self._open:
            return
        if self._open == "thinking":
            yield self._delta("signature_delta", "signature", sign("".join(self._hidden)))
            self._hidden.clear()
        self._open = ""
        yield {"type": "content_block_stop", "index": self._index}


class MessageReader:
    """Puts a message together from its events, as Anthropic's own clients do."""

    def __init__(self) -> None:
        self.message: Record = {}
        self._pieces: list[str] = []

    def read(self, event: Record) -> None:
        match event["type"]:
            case "message_start":
                self.message = event["message"]
            case "content_block_start":
                self.message["content"].append(event["content_block"])
            case "content_block_delta":
                self._add(event["delta"])
            case "content_block_stop":
                self._close()
            case "message_delta":
                self.message |= event["delta"]
                self.message["usage"] |= event["usage"]

    def _add(self, delta: Record) -> None:
        if delta["type"] == "signature_delta":
            self.message["content"][-1]["signature"] = delta["signature"]
        else:
            self._pieces += [value for field, value in delta.items() if field != "type"]

    def _close(self) -> None:
        block = self.message["content"][-1]
        text = "".join(self._pieces)
        self._pieces.clear()
        if block["type"] == "tool_use":
            block["input"] = _arguments(text)
        else:
            block[block["type"]] = text


def _arguments(text: str) -> Record:
    """What there is of them: an answer may have been cut off in the midst of a call."""
    try:
        value = from_json(text or "{}", allow_partial=True)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
