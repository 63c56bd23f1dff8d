"""What a chat template can, learnt by rendering small conversations whose words are known."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import product
from typing import Any

from worker.chat.capabilities import Arguments, CallIds, Capabilities
from worker.chat.messages import Tool
from worker.chat.parsers.samples import ANSWER, KEY, QUESTION, THOUGHT, TOOL, VALUE
from worker.chat.plain_tools import tool_dict
from worker.chat.template import ChatTemplate, TemplateCrashed, TemplateFailed

NOW = datetime(2026, 1, 1, 12, 0)
SCHEMA = {"type": "object", "properties": {KEY: {"type": "string"}}, "required": [KEY]}
SENTINEL_TOOL = Tool(TOOL, "sentinel_description", SCHEMA)

_SYSTEM, _RESULT, _MORE = "sentinel_system", "sentinel_result", "sentinel_more"
_OTHER_VALUE, _OTHER_RESULT = "sentinel_other_value", "sentinel_other_result"
_REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")
_THINKING_VARIABLES = ("enable_thinking", "thinking")
_LONG_ID, _SHORT_ID, _NAMED_ID = "call_sentinel_0", "sentinel0", f"functions.{TOOL}:0"

Turn = dict[str, Any]


def find_capabilities(template: ChatTemplate) -> Capabilities:
    """Takes some thirty renders. Never raises: a template that cannot be rendered at all says why
    when it is asked to."""
    try:
        return _Probe(template).capabilities()
    except TemplateCrashed:
        return Capabilities()


class _Probe:
    def __init__(self, template: ChatTemplate) -> None:
        self._template = template

    def capabilities(self) -> Capabilities:
        """Raises TemplateCrashed, so that a template that hangs hangs once."""
        # A template for tools need not be good for anything else.
        if not any(self._shows([_user()], QUESTION, tools=tools) for tools in (False, True)):
            return Capabilities()
        tools = self._shows([_user()], TOOL, KEY, tools=True)
        # Where tools are told in words, those words say how to call, and all calls look so.
        calls = self._calls() if tools else {}
        key = self._reasoning_key(calls)
        can_call = bool(calls)
        return Capabilities(
            system=self._system(calls),
            mid_system=self._mid_system(),
            same_role=self._same_role(),
            tools=tools,
            **calls,
            many_calls=can_call and self._many_calls(calls),
            text_with_calls=not can_call or self._text_with_calls(calls, key),
            user_after_result=not can_call or self._user_after_result(calls),
            reasoning_key=key,
            reasoning_with_text=not (key and can_call)
            or bool(self._render(_said_and_called(calls, key), tools=True)),
            thinking_variable=self._thinking_variable(),
            reasoning_effort=self._differs("reasoning_effort", "low", "high"),
        )

    def _render(
        self,
        turns: list[Turn],
        *,
        tools: bool = False,
        variables: Mapping[str, Any] = {},
        opens_answer: bool = True,
    ) -> str:
        """ "" when it is refused."""
        try:
            return self._template.render(
                turns,
                now=NOW,
                tools=[tool_dict(SENTINEL_TOOL)] if tools else [],
                variables=variables,
                add_generation_prompt=opens_answer,
            )
        except TemplateCrashed:
            raise
        except TemplateFailed:
            return ""

    def _shows(self, turns: list[Turn], *words: str, tools: bool = False) -> bool:
        """All the words, and those of the turns in their order."""
        text = self._render(turns, tools=tools)
        return all(word in text for word in words) and (tools or _in_order(text, words))

    def _system(self, calls: Mapping[str, Any]) -> bool:
        """At the beginning; some templates move it to the last user's turn, or then forget it."""
        if not self._shows([_system(), _user()], _SYSTEM, QUESTION):
            return False
        later = [_system(), _user(), _answer(), _user(_MORE)]
        if self._render(later) and not self._shows(later, _SYSTEM, QUESTION, _MORE):
            return False
        if not calls:
            return True
        working = [_system(), *_called(calls)]
        return not self._render(working, tools=True) or self._shows(working, _SYSTEM, tools=True)

    def _mid_system(self) -> bool:
        """Where it stands, wherever that is."""
        after_user = [_user(), _system(), _answer(), _user(_MORE)]
        after_answer = [_user(), _answer(), _system(), _user(_MORE)]
        return self._shows(after_user, QUESTION, _SYSTEM, ANSWER, _MORE) and self._shows(
            after_answer, QUESTION, ANSWER, _SYSTEM, _MORE
        )

    def _same_role(self) -> bool:
        answers = [_user(), _answer(), {"role": "assistant", "content": _MORE}, _user("x")]
        return self._shows([_user(), _user(_MORE)], QUESTION, _MORE) and self._shows(
            answers, QUESTION, ANSWER, _MORE
        )

    def _calls(self) -> dict[str, Any]:
        """How calls are written; empty when they are not."""
        ways = product(Arguments, (False, True), (_LONG_ID, _SHORT_ID))
        for arguments, is_null, call_id in ways:
            way = {"arguments": arguments, "null_content": is_null}
            text = self._render([_user(), _call(way, call_id), _result(call_id)], tools=True)
            # The definition of the tool has its name and key, too.
            turns = text.replace(self._render([_user()], tools=True, opens_answer=False), "")
            if VALUE not in turns or _is_mangled(turns):
                continue
            ids = CallIds.ANY if call_id == _LONG_ID else CallIds.SHORT
            if TOOL not in turns and call_id in turns:
                ids = CallIds.NAMED
            return {**way, "calls": True, "call_ids": ids, "results": _RESULT in turns}
        return {}

    def _many_calls(self, calls: Mapping[str, Any]) -> bool:
        first, second = _ids(calls)
        turn = _call(calls, first)
        turn["tool_calls"] += _call(calls, second, _OTHER_VALUE)["tool_calls"]
        turns = [_user(), turn, _result(first), _result(second, _OTHER_RESULT)]
        words = [VALUE, _OTHER_VALUE] + [_RESULT, _OTHER_RESULT] * calls["results"]
        return self._shows(turns, *words, tools=True)

    def _user_after_result(self, calls: Mapping[str, Any]) -> bool:
        return self._shows([*_called(calls), _user(_MORE)], VALUE, _MORE, tools=True)

    def _reasoning_key(self, calls: Mapping[str, Any]) -> str:
        """Thoughts are shown at least until the tool that they called for has answered, by some
        templates for ever."""
        for key in _REASONING_KEYS:
            turns = [_user(), {**_answer(), key: THOUGHT}]
            if calls and THOUGHT in self._render(_called(calls, **{key: THOUGHT}), tools=True):
                return key
            if THOUGHT in self._render([*turns, _user(_MORE)]):
                return key
            if THOUGHT in self._render(turns, opens_answer=False):
                return key
        return ""

    def _text_with_calls(self, calls: Mapping[str, Any], key: str) -> bool:
        if not self._shows(_said_and_called(calls, ""), ANSWER, VALUE, tools=True):
            return False
        thought = _said_and_called(calls, key) if key else []
        if not thought or not self._render(thought, tools=True):
            return True
        return self._shows(thought, ANSWER, VALUE, tools=True)

    def _thinking_variable(self) -> str:
        return next((name for name in _THINKING_VARIABLES if self._differs(name, True, False)), "")

    def _differs(self, variable: str, one: Any, other: Any) -> bool:
        turns = [_system(), _user()]
        if not self._render(turns):
            turns = [_user()]
        return self._render(turns, variables={variable: one}) != self._render(
            turns, variables={variable: other}
        )


def _system() -> Turn:
    return {"role": "system", "content": _SYSTEM}


def _user(content: str = QUESTION) -> Turn:
    return {"role": "user", "content": content}


def _answer() -> Turn:
    return {"role": "assistant", "content": ANSWER}


def _call(way: Mapping[str, Any], call_id: str, value: str = VALUE) -> Turn:
    as_text = way["arguments"] is Arguments.TEXT
    arguments = f'{{"{KEY}": "{value}"}}' if as_text else {KEY: value}
    function = {"name": TOOL, "arguments": arguments}
    call = {"id": call_id, "type": "function", "function": function}
    content = None if way["null_content"] else ""
    return {"role": "assistant", "content": content, "tool_calls": [call]}


def _called(way: Mapping[str, Any], **more: str) -> list[Turn]:
    """A question, a call with `more` in its turn, and its result."""
    call_id = _ids(way)[0]
    return [_user(), {**_call(way, call_id), **more}, _result(call_id)]


def _said_and_called(way: Mapping[str, Any], reasoning_key: str) -> list[Turn]:
    thoughts = {reasoning_key: THOUGHT} if reasoning_key else {}
    return _called(way, content=ANSWER, **thoughts)


def _result(call_id: str, content: str = _RESULT) -> Turn:
    return {"role": "tool", "content": content, "tool_call_id": call_id, "name": TOOL}


def _ids(calls: Mapping[str, Any]) -> tuple[str, str]:
    """Two that the template takes."""
    ids = {
        CallIds.ANY: (_LONG_ID, "call_sentinel_1"),
        CallIds.SHORT: (_SHORT_ID, "sentinel1"),
        CallIds.NAMED: (_NAMED_ID, f"functions.{TOOL}:1"),
    }
    return ids[calls["call_ids"]]


def _is_mangled(text: str) -> bool:
    """Arguments as Python or, encoded twice, as a string within JSON."""
    return f"{{'{KEY}'" in text or f'\\"{KEY}\\"' in text


def _in_order(text: str, words: tuple[str, ...]) -> bool:
    places = [text.index(word) for word in words]
    return places == sorted(places)
