"""The turns of a conversation as OpenAI's clients write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from worker.api.body import LenientBody
from worker.chat.messages import ChatMessage, Role, ToolCall
from worker.engine.params import InvalidParam

_TEXT_OF = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
_ROLES: dict[str, Role] = {
    "developer": "system",
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "function": "tool",
    "tool": "tool",
}
_WITHOUT_CONTENT = ("assistant", "tool", "function")


def _flatten(value: Any) -> Any:
    """Content parts as one text; a part this worker cannot read is refused."""
    if not isinstance(value, list):
        return value
    texts = []
    for index, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else None
        name = _TEXT_OF.get(kind) if isinstance(kind, str) else None
        if name is None:
            raise ValueError(f"part {index}: this model reads text only, not {kind or 'this'}")
        text = part.get(name)
        if not isinstance(text, str):
            raise ValueError(f"part {index}: {name} must be a string")
        texts.append(text)
    return "\n".join(texts)


def _absent(value: Any) -> Any:
    """For fields that are not supported: null and the empty value mean that nothing was asked."""
    if value not in (None, [], {}, False):
        raise ValueError("is not supported by this worker")
    return None


def _written(value: Any) -> Any:
    """Some clients send the arguments themselves in place of their text."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


Unsupported = Annotated[Any, AfterValidator(_absent)]
Text = Annotated[
    str,
    BeforeValidator(_flatten),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]}),
]
Arguments = Annotated[
    str,
    BeforeValidator(_written),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]}),
]


class FunctionCall(LenientBody):
    """`arguments` is the text of a JSON object, as a model wrote it."""

    name: str
    arguments: Arguments = ""


class Call(LenientBody):
    id: str = ""
    type: Literal["function"] | None = None
    function: FunctionCall


class Message(LenientBody):
    """One turn. What an answer of ours carries may come back in `assistant` turns as it was."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text | None = None
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[Call] | None = None
    function_call: FunctionCall | None = None
    tool_call_id: str | None = None
    audio: Unsupported = None

    def normalised(self) -> ChatMessage:
        is_answer = self.role == "assistant"
        calls = [_call(call.id, call.function) for call in self.tool_calls or ()]
        if self.function_call is not None:
            calls.append(_call("", self.function_call))
        return ChatMessage(
            _ROLES[self.role],
            self.content or (self.refusal if is_answer else None) or "",
            reasoning=(self.reasoning_content or "") if is_answer else "",
            tool_calls=tuple(calls) if is_answer else (),
            tool_call_id=self.tool_call_id or "",
            name=self.name or "",
        )


def read_messages(messages: Sequence[Message]) -> tuple[ChatMessage, ...]:
    """As every dialect has them; results get the name of the tool that was called.

    Raises InvalidParam.
    """
    read: list[ChatMessage] = []
    names: dict[str, str] = {}
    for index, message in enumerate(messages):
        if message.content is None and message.role not in _WITHOUT_CONTENT:
            raise InvalidParam(f"messages.{index}.content", "is required")
        turn = message.normalised()
        names |= {call.id: call.name for call in turn.tool_calls}
        if turn.role == "tool" and not turn.name:
            turn = _named(turn, names.get(turn.tool_call_id, ""))
        read.append(turn)
    return tuple(read)


def _named(turn: ChatMessage, name: str) -> ChatMessage:
    return ChatMessage(turn.role, turn.content, tool_call_id=turn.tool_call_id, name=name)


def _call(name_of_call: str, function: FunctionCall) -> ToolCall:
    return ToolCall(name_of_call, function.name, function.arguments or "{}")
