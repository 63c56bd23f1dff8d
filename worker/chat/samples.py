"""Renders of known conversations, from which it is learnt how a model answers."""

from __future__ import annotations

from dataclasses import replace

from worker.chat.capabilities import Capabilities
from worker.chat.messages import ChatMessage, Conversation, ToolCall
from worker.chat.parsers.samples import ANSWER, KEY, QUESTION, THOUGHT, VALUE, Samples
from worker.chat.probe import NOW, SENTINEL_TOOL
from worker.chat.template import ChatTemplate, TemplateCrashed, TemplateFailed
from worker.chat.turns import make_tools, make_turns

_USER = ChatMessage("user", QUESTION)
_ANSWER = ChatMessage("assistant", ANSWER)
_CALL = ToolCall("call_sentinel_0", SENTINEL_TOOL.name, f'{{"{KEY}": "{VALUE}"}}')
_RESULT = ChatMessage("tool", "sentinel_result", tool_call_id=_CALL.id)


def find_samples(template: ChatTemplate, can: Capabilities) -> Samples:
    """Takes some ten renders. Never raises."""
    try:
        return _find(_Sampler(template, can), template.source, can)
    except TemplateCrashed:
        return Samples(template.source, "", None, None, None, "")


def _find(sampler: _Sampler, source: str, can: Capabilities) -> Samples:
    calls = ChatMessage("assistant", tool_calls=(_CALL,))
    second = replace(_CALL, id="call_sentinel_1")
    two_calls = replace(calls, tool_calls=(_CALL, second))
    thoughts = [replace(_ANSWER, reasoning=THOUGHT)], [replace(calls, reasoning=THOUGHT), _RESULT]
    question = sampler.render()
    opened = sampler.render(opens_answer=True)
    return Samples(
        source=source,
        plain=sampler.render(_ANSWER) or "",
        with_call=sampler.render(calls, _RESULT) or sampler.render(calls),
        with_two_calls=sampler.render(two_calls) if can.many_calls or not can.calls else None,
        with_reasoning=next(
            (text for turns in thoughts if THOUGHT in (text := sampler.render(*turns) or "")), None
        ),
        prompt_end=opened.removeprefix(question) if question and opened else "",
    )


class _Sampler:
    def __init__(self, template: ChatTemplate, can: Capabilities) -> None:
        self._template = template
        self._can = can

    def render(self, *turns: ChatMessage, opens_answer: bool = False) -> str | None:
        """What follows the user's question; None when it is refused. Raises
        TemplateCrashed."""
        has_calls = any(turn.tool_calls for turn in turns)
        conversation = Conversation((_USER, *turns), (SENTINEL_TOOL,) if has_calls else ())
        try:
            return self._template.render(
                make_turns(conversation, self._can),
                now=NOW,
                tools=make_tools(conversation, self._can),
                add_generation_prompt=opens_answer,
            )
        except TemplateCrashed:
            raise  # so that a template that hangs hangs once
        except TemplateFailed:
            return None
