"""What an answer must look like so that a request's tool choice and strict schemas are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from worker.chat.lark import ANY, SPACE, LarkWriter, one_of, pattern_of, refusal
from worker.chat.messages import Conversation, Tool, ToolMode
from worker.chat.parsers.answer import ReasoningMarks
from worker.chat.parsers.harmony import CHANNEL, MESSAGE, START, HarmonyCalls
from worker.chat.parsers.json_calls import JsonCalls
from worker.chat.parsers.named_calls import NamedCalls
from worker.chat.parsers.tagged_calls import TaggedCalls
from worker.chat.parsers.typed_value import types_of
from worker.engine.constraint import ConstraintKind, ConstraintSpec
from worker.engine.params import InvalidParam
from worker.engine.runner import Vocab

FIELD = "tools"
MAX_CALLS = 32
# How calls without a mark begin: no text may, at the start of a line.
_BARE_START = (
    r'((?s:.*)\n)?[ \t]*[{\[][ \n\t{]*"(name|tool_name|function|type|id|parameters|arguments)'
)


def calls_form(
    calls: JsonCalls | NamedCalls | TaggedCalls | HarmonyCalls,
    reasoning: ReasoningMarks | None,
    vocab: Vocab,
    conversation: Conversation,
    opens_reasoning: bool,
) -> ConstraintSpec | None:
    """None when anything may come. Blocks for milliseconds per tool. Raises InvalidParam for a
    strict tool whose schema cannot be kept."""
    choice = conversation.tool_choice
    is_required = choice.mode is ToolMode.REQUIRED
    tools = [tool for tool in conversation.tools if not choice.names or tool.name in choice.names]
    if not tools or choice.mode is ToolMode.NONE:
        return None
    if not is_required and not any(tool.strict for tool in tools):
        return None
    lark = LarkWriter(vocab)
    if isinstance(calls, HarmonyCalls):
        start = _harmony(lark, tools, is_required=is_required, opens_reasoning=opens_reasoning)
    else:
        start = _Marked(lark, calls, tools, may_repeat=choice.parallel).answer(is_required)
        start = _thoughts(lark, reasoning, opens_reasoning) + start
    return ConstraintSpec(ConstraintKind.LARK, lark.text(start), FIELD)


def _thoughts(lark: LarkWriter, reasoning: ReasoningMarks | None, is_open: bool) -> str:
    """What may, or must, come first where the model thinks."""
    if reasoning is None or not (is_open or reasoning.opener):
        return ""
    end = f"{lark.up_to(reasoning.closer)} {SPACE} "
    return end if is_open else f"({SPACE} {lark.literal(reasoning.opener)} {end})? "


def _schema(tool: Tool) -> tuple[Mapping[str, Any], bool]:
    """What its arguments keep to, and whether words in it that are unknown are to be skipped.

    Raises InvalidParam.
    """
    schema = dict(tool.parameters)
    if schema.get("type") != "object":
        schema["type"] = "object"
    reason = refusal(schema, is_lenient=not tool.strict)
    if reason and tool.strict:
        raise InvalidParam(FIELD, f"the strict parameters of {tool.name!r}: {reason}")
    return ({"type": "object"} if reason else schema), not tool.strict


class _Marked:
    """Calls between marks, of one model."""

    def __init__(
        self,
        lark: LarkWriter,
        calls: JsonCalls | NamedCalls | TaggedCalls,
        tools: list[Tool],
        *,
        may_repeat: bool,
    ) -> None:
        self._lark = lark
        self._calls = calls
        self._tools = tools
        self._may_repeat = may_repeat

    def answer(self, is_required: bool) -> str:
        """Calls; or text, and calls after it or none."""
        if is_required:
            return f"{SPACE} {self._all()}"
        calls = self._calls
        if not calls.openers or calls.is_bare:
            return one_of([self._all(), self._lark.without(_BARE_START)])
        opener = calls.openers[0]
        lark = self._lark
        if lark.has_control_tokens(opener):
            return f"{ANY} ({self._all()})?"
        # The opener is read with the text before it.
        text = lark.without("(?s:.*)" + pattern_of(opener))
        return one_of([text, f"{lark.up_to(opener)} {self._all(without=opener)}"])

    def _all(self, without: str = "") -> str:
        """From the first call to the last; `without` what was read of the beginning."""
        calls, lark = self._calls, self._lark
        match calls:
            case JsonCalls():
                one = one_of([self._json_call(calls, tool) for tool in self._tools])
                return self._json_calls(calls, one, without)
            case NamedCalls():
                one = one_of([self._named_call(calls, tool) for tool in self._tools])
            case TaggedCalls():
                one = one_of([self._tagged_call(calls, tool) for tool in self._tools])
        beginning = (calls.section_opener + calls.opener).lstrip()
        beginning = beginning.removeprefix(without)
        # Some templates write each call in a line of its own; the model may or may not.
        more = f"{lark.spaced(calls.opener)} {one}"
        end = lark.spaced(calls.section_closer) if calls.section_closer else ""
        return f"{lark.literal(beginning)} {one} {self._repeated(more)} {end}"

    def _repeated(self, more: str) -> str:
        return f"({more}){{0,{MAX_CALLS - 1}}}" if self._may_repeat else ""

    def _json_calls(self, calls: JsonCalls, one: str, without: str) -> str:
        lark, space = self._lark, calls.inner_space
        opener = "" if calls.is_bare else calls.openers[0]
        if calls.is_array:
            bracket = lark.spaced("[") if calls.is_bare else '"["'
            many = f'{bracket} {one} {self._repeated(f""" ", " {one}""")} "]"'
            begin = lark.literal((opener + space).removeprefix(without))
            return f"{begin} {many} {lark.literal(space + calls.closer)}"
        end = lark.literal(space + calls.closer) if calls.closer else ""
        begin = lark.literal((opener + space).removeprefix(without))
        more = f'"\\n" {lark.literal(opener + space)} {one} {end}'
        return f"{begin} {one} {end} {self._repeated(more)}"

    def _arguments(self, tool: Tool) -> str:
        schema, is_lenient = _schema(tool)
        return self._lark.json(schema, is_lenient=is_lenient)

    def _json_call(self, calls: JsonCalls, tool: Tool) -> str:
        name = json.dumps(tool.name, ensure_ascii=False)
        head = f'"{calls.name_key}": {name}, "{calls.arguments_key}": '
        head = "{" + (head if calls.name_key else f"{name}: ")
        is_first = calls.is_bare and not calls.is_array
        start = self._lark.spaced(head) if is_first else self._lark.literal(head)
        return f'{start} {self._arguments(tool)} "}}"'

    def _named_call(self, calls: NamedCalls, tool: Tool) -> str:
        lark = self._lark
        number = "/:[0-9]{1,2}/" if calls.number else ""
        parts = [lark.literal(tool.name), number, lark.literal(calls.separator)]
        return " ".join([*parts, self._arguments(tool), lark.literal(calls.closer)])

    def _tagged_call(self, calls: TaggedCalls, tool: Tool) -> str:
        schema, is_lenient = _schema(tool)
        lark = self._lark
        properties = schema.get("properties") or {}
        required = schema.get("required") or ()
        parts = [lark.literal(tool.name + calls.name_end)]
        for key in properties:
            value = self._value(calls, schema, key, is_lenient)
            parts.append(value if key in required else f"({value})?")
        if not properties:
            anything = f"{lark.literal(calls.key_opener)} /[A-Za-z0-9_.-]{{1,64}}/"
            anything += f" {lark.literal(calls.key_end)} {lark.up_to(calls.value_closer)}"
            parts.append(f"({anything})*")
        return " ".join([*parts, lark.literal(calls.closer)])

    def _value(
        self, calls: TaggedCalls, schema: Mapping[str, Any], key: str, is_lenient: bool
    ) -> str:
        """One argument, from its tag to its closing tag."""
        lark = self._lark
        inner = schema["properties"][key]
        types = types_of(schema, key)
        is_text = "string" in types or not types
        key_end = calls.key_end
        if not is_text:
            key_end = key_end.replace('string="true"', 'string="false"')
        head = lark.literal(calls.key_opener + key + key_end)
        choices = inner.get("enum") if isinstance(inner, Mapping) else None
        if is_text and choices and all(isinstance(one, str) for one in choices):
            texts = one_of([lark.literal(one) for one in choices])
            return f"{head} {texts} {lark.literal(calls.value_closer)}"
        if is_text:
            return f"{head} {lark.up_to(calls.value_closer)}"
        definitions = {word: schema[word] for word in ("$defs", "definitions") if word in schema}
        value = lark.json({**inner, **definitions}, is_lenient=is_lenient)
        return f"{head} {value} {lark.literal(calls.value_closer)}"


def _harmony(
    lark: LarkWriter, tools: list[Tool], *, is_required: bool, opens_reasoning: bool
) -> str:
    """Thoughts, then a call; or thoughts, and what is said or a call."""
    end = f"{lark.up_to('<|end|>')} {lark.literal(START + 'assistant')}"
    analysis = f"{lark.literal(CHANNEL + 'analysis' + MESSAGE)} {end}"
    preamble = f"{lark.literal(CHANNEL + 'commentary' + MESSAGE)} {end}"
    calls = []
    for tool in tools:
        schema, is_lenient = _schema(tool)
        head = f"{CHANNEL}commentary to=functions.{tool.name} <|constrain|>json{MESSAGE}"
        calls.append(f"{lark.literal(head)} {lark.json(schema, is_lenient=is_lenient)}")
    first = f"{end} " if opens_reasoning else f"({analysis})? "
    if is_required:
        return f"{first} {one_of(calls)}"
    final = f"{lark.literal(CHANNEL + 'final' + MESSAGE)} {ANY}"
    return f"{first} ({preamble})? {one_of([*calls, final])}"
