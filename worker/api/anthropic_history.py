"""Anthropic's messages as turns of a chat.

The same conversation gives the same turns however its client spells it, and a longer one begins
with those of the shorter, so that what was computed of a prompt serves the next one too.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.api.errors import ApiError, invalid
from worker.api.schemas.anthropic import MessageParam
from worker.api.schemas.anthropic_blocks import (
    UNREADABLE,
    Block,
    RedactedThinkingBlock,
    SearchResultBlock,
    TextBlock,
    ThinkingBlock,
    ToolReferenceBlock,
    ToolResultBlock,
    ToolUseBlock,
    UnknownBlock,
)
from worker.api.thoughts import read_signature
from worker.chat.messages import ChatMessage, Role, ToolCall

log = logging.getLogger(__name__)

ID_PREFIX = "toolu_"
_PLACES: dict[str, tuple[type[Any], ...]] = {
    "user": (TextBlock, SearchResultBlock, ToolResultBlock, UnknownBlock),
    "assistant": (TextBlock, ThinkingBlock, RedactedThinkingBlock, ToolUseBlock, UnknownBlock),
    "system": (TextBlock, UnknownBlock),
}
# Claude Code's first system block names its version and a stamp, which change from one
# conversation to the next: nothing after them would ever be found in the cache.
_ATTRIBUTION = re.compile(r"\A\s*(?:x-anthropic-[\w-]+:[^\n]*(?:\n+|\Z))+", re.IGNORECASE)


def read_system(blocks: Sequence[TextBlock]) -> str:
    """The system prompt without the lines at its start that are for Anthropic's accounts."""
    texts = [_ATTRIBUTION.sub("", block.text, count=1) for block in blocks if block.text]
    return "\n".join(text for text in texts if text)


def read_turns(messages: Sequence[MessageParam]) -> tuple[ChatMessage, ...]:
    """Turns of one role that follow each other are one, empty ones are none. Raises ApiError 400
    for what a model of text cannot read, and for blocks in the wrong turn."""
    turns = _Turns()
    for at, message in enumerate(messages):
        for place, block in enumerate(message.content):
            _check(block, message.role, f"messages.{at}.content.{place}")
            turns.add(message.role, block)
    if turns.unknown:
        kinds = ", ".join(sorted(turns.unknown))
        log.info(
            "blocks of unknown kinds are left out: %s", kinds, extra={"data": {"kinds": kinds}}
        )
    return tuple(draft.message() for draft in turns.drafts)


def referenced_tools(messages: Sequence[MessageParam]) -> list[str]:
    """The tools that searches have found, in the order in which they were."""
    names = [
        part.tool_name
        for message in messages
        for block in message.content
        if isinstance(block, ToolResultBlock)
        for part in block.content
        if isinstance(part, ToolReferenceBlock)
    ]
    return list(dict.fromkeys(names))


@dataclass(slots=True)
class _Draft:
    """A turn that may still grow."""

    role: Role
    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    call_id: str = ""

    def message(self) -> ChatMessage:
        return ChatMessage(
            self.role,
            "\n".join(self.texts),
            "\n".join(self.thoughts),
            tuple(self.calls),
            self.call_id,
        )


class _Turns:
    def __init__(self) -> None:
        self.drafts: list[_Draft] = []
        self.unknown: set[str] = set()

    def add(self, role: Role, block: Block) -> None:
        match block:
            case TextBlock():
                if block.text:
                    self._turn(role).texts.append(block.text)
            case SearchResultBlock():
                self._turn(role).texts.append(_search_result(block))
            case ThinkingBlock():
                if thoughts := block.thinking or read_signature(block.signature):
                    self._turn(role).thoughts.append(thoughts)
            case ToolUseBlock():
                self._call(role, block)
            case ToolResultBlock():
                self._result(block)
            case UnknownBlock():
                self.unknown.add(block.type[:64])

    def _turn(self, role: Role) -> _Draft:
        if not self.drafts or self.drafts[-1].role != role:
            self.drafts.append(_Draft(role))
        return self.drafts[-1]

    def _call(self, role: Role, block: ToolUseBlock) -> None:
        arguments = json.dumps(block.input, ensure_ascii=False)
        call = ToolCall(block.id.removeprefix(ID_PREFIX), block.name, arguments)
        self._turn(role).calls.append(call)

    def _result(self, block: ToolResultBlock) -> None:
        texts = []
        for part in block.content:
            match part:
                case TextBlock():
                    texts.append(part.text)
                case SearchResultBlock():
                    texts.append(_search_result(part))
                case ToolReferenceBlock():
                    texts.append(f"The tool {part.tool_name} can be called now.")
                case _:
                    self.unknown.add(part.type[:64])
        if block.is_error and not any(texts):
            texts = ["The tool failed."]
        call_id = block.tool_use_id.removeprefix(ID_PREFIX)
        self.drafts.append(_Draft("tool", texts, call_id=call_id))


def _search_result(block: SearchResultBlock) -> str:
    head = [text for text in (block.title, block.source) if text]
    return "\n".join([*head, *(part.text for part in block.content)])


def _check(block: Block, role: str, place: str) -> None:
    """Raises ApiError."""
    kind: str = block.type
    if not isinstance(block, _PLACES[role]):
        raise invalid(f"{place}: a {kind} block has no place in a {role} turn", place)
    if kind in UNREADABLE:
        raise _unreadable(f"{place}.{kind}", kind)
    if isinstance(block, ToolResultBlock):
        for at, part in enumerate(block.content):
            if part.type in UNREADABLE:
                raise _unreadable(f"{place}.tool_result.content.{at}.{part.type}", part.type)


def _unreadable(place: str, kind: str) -> ApiError:
    # Claude Code reads the place from the text, takes the block out, and goes on.
    return invalid(f"{place}: this model reads text only, no {kind}", place)
