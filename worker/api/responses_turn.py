"""From a request of `/v1/responses` to the turn of a chat that it asks for."""

from __future__ import annotations

from collections.abc import Sequence

from worker.api.generate import default_max_tokens
from worker.api.schemas.openai_responses import ResponsesRequest
from worker.api.schemas.responses_input import (
    CallItem,
    CallOutputItem,
    MessageItem,
    OtherItem,
    ReasoningItem,
    text_of,
)
from worker.api.schemas.responses_tools import functions_of, read_choice
from worker.api.turn import Turn
from worker.chat.messages import ChatMessage, Conversation, Role, ToolCall
from worker.engine.params import InvalidParam

Item = MessageItem | CallItem | CallOutputItem | ReasoningItem | OtherItem


def turn_of(body: ResponsesRequest, *, context: int, agent: str | None) -> Turn:
    """`context` is how many tokens a sequence may have. Raises InvalidParam."""
    return Turn(
        _conversation(body),
        body.sampling(default_max_tokens(context)),
        form=body.form(),
        reproducible=body.is_reproducible,
        agent=agent,
        use_cache=body.uses_cache,
        priority=body.priority or 0,
        field="input",
    )


def _conversation(body: ResponsesRequest) -> Conversation:
    functions = functions_of(body.tools or [])
    names = {function.name for function in functions}
    return Conversation(
        messages_of(body.instructions, body.input),
        tuple(function.tool() for function in functions),
        read_choice(body.tool_choice, names, parallel=body.allows_many_calls),
        body.template_variables(),
    )


def messages_of(instructions: str | None, items: Sequence[Item]) -> tuple[ChatMessage, ...]:
    """Raises InvalidParam for an output that belongs to no call."""
    turns = _Turns()
    if instructions:
        turns.say(ChatMessage("system", instructions))
    for index, item in enumerate(items):
        match item:
            case MessageItem(role="assistant"):
                turns.answer(text_of(item.content))
            case MessageItem():
                role: Role = "user" if item.role == "user" else "system"
                turns.say(ChatMessage(role, text_of(item.content)))
            case ReasoningItem():
                turns.think(item.text)
            case CallItem():
                turns.call(ToolCall(item.call_id, item.name, item.arguments or "{}"))
            case CallOutputItem():
                turns.hand_back(item.call_id, text_of(item.output), f"input.{index}.call_id")
    return turns.finish()


class _Turns:
    """Puts together again what one answer was taken apart into: thoughts, a message, calls."""

    def __init__(self) -> None:
        self._turns: list[ChatMessage] = []
        self._tools: dict[str, str] = {}
        self._reasoning: list[str] = []
        self._content: str | None = None
        self._calls: list[ToolCall] = []

    def say(self, message: ChatMessage) -> None:
        self._end_answer()
        self._turns.append(message)

    def think(self, text: str) -> None:
        if self._content is not None or self._calls:
            self._end_answer()
        if text:
            self._reasoning.append(text)

    def answer(self, text: str) -> None:
        if self._content is not None or self._calls:
            self._end_answer()
        self._content = text

    def call(self, call: ToolCall) -> None:
        self._tools[call.id] = call.name
        self._calls.append(call)

    def hand_back(self, call_id: str, output: str, field: str) -> None:
        if call_id not in self._tools:
            raise InvalidParam(field, f'is "{call_id}", but no function_call before it has this id')
        name = self._tools[call_id]
        self.say(ChatMessage("tool", output, tool_call_id=call_id, name=name))

    def finish(self) -> tuple[ChatMessage, ...]:
        self._end_answer()
        return tuple(self._turns)

    def _end_answer(self) -> None:
        if self._content is not None or self._calls or self._reasoning:
            content, thoughts = self._content or "", "\n".join(self._reasoning)
            self._turns.append(ChatMessage("assistant", content, thoughts, tuple(self._calls)))
        self._reasoning, self._content, self._calls = [], None, []
