"""A conversation in the form that one template can render.

What the template drops or refuses is said in another way, and stays where it was: the beginning of
a conversation is the beginning of its next prompt, and what is computed of it need not be again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from worker.chat import plain_tools
from worker.chat.call_ids import CallNames
from worker.chat.capabilities import Arguments, Capabilities
from worker.chat.messages import ChatMessage, Conversation, Role

_BETWEEN = "\n\n"


def make_turns(conversation: Conversation, can: Capabilities) -> list[dict[str, Any]]:
    """The template's `messages`."""
    turns = _join_first_systems(conversation.messages)
    if conversation.tools and not can.tools:
        turns = _describe_tools(turns, plain_tools.described(conversation.tools))
    turns = CallNames().filled_in(turns)
    turns = _replace_systems(turns, can)
    if can.calls and not can.many_calls:
        turns = _one_call_each(turns)
    if can.calls and not can.text_with_calls and can.same_role:
        turns = [part for turn in turns for part in _said_then_called(turn)]
    turns = [_replace_calls(turn, can) for turn in _replace_orphans(turns)]
    turns = _merge(turns, can)
    ids = CallNames(can.call_ids)
    return [_as_dict(turn, can) for turn in ids.renamed(turns)]


def make_tools(conversation: Conversation, can: Capabilities) -> list[dict[str, Any]]:
    """The template's `tools`."""
    return [plain_tools.tool_dict(tool) for tool in conversation.tools] if can.tools else []


def _join_first_systems(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Clients send instructions in several pieces; templates look at the first only."""
    count = next((i for i, turn in enumerate(messages) if turn.role != "system"), len(messages))
    if count < 2:
        return list(messages)
    content = _joined(turn.content for turn in messages[:count])
    return [ChatMessage("system", content), *messages[count:]]


def _describe_tools(turns: list[ChatMessage], words: str) -> list[ChatMessage]:
    if turns and turns[0].role == "system":
        return [replace(turns[0], content=_joined([turns[0].content, words])), *turns[1:]]
    return [ChatMessage("system", words), *turns]


def _replace_systems(turns: Sequence[ChatMessage], can: Capabilities) -> list[ChatMessage]:
    kept = []
    for index, turn in enumerate(turns):
        if turn.role != "system" or (can.mid_system if index else can.system):
            kept.append(turn)
        elif turn.content:
            # At the beginning nobody doubts who speaks; later the user's own words are around it.
            text = f"<system>\n{turn.content}\n</system>" if index else turn.content
            kept.append(ChatMessage("user", text))
    return kept


def _one_call_each(turns: Sequence[ChatMessage]) -> list[ChatMessage]:
    """A turn for each call, its result after it."""
    kept: list[ChatMessage] = []
    index = 0
    while index < len(turns):
        turn = turns[index]
        index += 1
        if len(turn.tool_calls) < 2:
            kept.append(turn)
            continue
        results = []
        while index < len(turns) and turns[index].role == "tool":
            results.append(turns[index])
            index += 1
        for number, call in enumerate(turn.tool_calls):
            one = (call,)
            first = replace(turn, tool_calls=one)
            kept.append(first if number == 0 else ChatMessage("assistant", tool_calls=one))
            its = [result for result in results if result.tool_call_id == call.id]
            kept += its
            results = [result for result in results if result not in its]
        kept += results
    return kept


def _said_then_called(turn: ChatMessage) -> list[ChatMessage]:
    if not turn.tool_calls or not turn.content:
        return [turn]
    return [ChatMessage("assistant", turn.content), replace(turn, content="")]


def _replace_orphans(turns: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Tools' turns that follow no call, as when a client cuts its history: most templates refuse
    them."""
    kept: list[ChatMessage] = []
    follows_call = False
    for turn in turns:
        follows_call = bool(turn.tool_calls) or (follows_call and turn.role == "tool")
        if turn.role == "tool" and not follows_call:
            turn = ChatMessage("user", plain_tools.answered(turn.content))
        kept.append(turn)
    return kept


def _replace_calls(turn: ChatMessage, can: Capabilities) -> ChatMessage:
    if turn.role == "tool" and not can.results:
        return ChatMessage("user", plain_tools.answered(turn.content))
    if turn.tool_calls and not can.calls:
        return replace(turn, content=plain_tools.with_calls(turn), tool_calls=())
    if turn.tool_calls and turn.reasoning and turn.content and not can.reasoning_with_text:
        return replace(turn, content="", reasoning=_joined([turn.reasoning, turn.content]))
    return turn


def _merge(turns: Sequence[ChatMessage], can: Capabilities) -> list[ChatMessage]:
    kept: list[ChatMessage] = []
    for turn in turns:
        last = kept[-1] if kept else None
        if last is not None and _belong_together(last, turn, can):
            kept[-1] = replace(
                last,
                content=_joined([last.content, turn.content]),
                reasoning=_joined([last.reasoning, turn.reasoning]),
                tool_calls=turn.tool_calls,
            )
        else:
            kept.append(turn)
    return kept


def _belong_together(last: ChatMessage, turn: ChatMessage, can: Capabilities) -> bool:
    if last.role == "tool" and turn.role == "user":
        return not can.user_after_result
    mergeable: tuple[Role, ...] = ("user", "assistant")
    if last.role != turn.role or turn.role not in mergeable:
        return False
    return not can.same_role and not last.tool_calls


def _as_dict(turn: ChatMessage, can: Capabilities) -> dict[str, Any]:
    made: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.reasoning and can.reasoning_key:
        made[can.reasoning_key] = turn.reasoning
    if turn.tool_calls:
        made["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments(call.arguments, can)},
            }
            for call in turn.tool_calls
        ]
        if not turn.content and can.null_content:
            made["content"] = None
    if turn.role == "tool":
        made["tool_call_id"] = turn.tool_call_id
    if turn.name:
        made["name"] = turn.name
    return made


def _arguments(text: str, can: Capabilities) -> Mapping[str, Any] | str:
    if can.arguments is Arguments.TEXT:
        return text or "{}"
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        value = text
    # A model's own malformed call comes back in the history: it must not end the conversation.
    return value if isinstance(value, dict) else {"input": value}


def _joined(texts: Any) -> str:
    return _BETWEEN.join(text for text in texts if text)
