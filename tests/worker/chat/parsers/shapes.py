"""The shapes of calls there are, how a model writes a call in each, and parsers fed in pieces."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from worker.chat.messages import ChatMessage, Conversation, Tool
from worker.chat.parsers.answer import ReasoningMarks
from worker.chat.parsers.answer_format import AnswerFormat, Calls
from worker.chat.parsers.harmony import HarmonyCalls
from worker.chat.parsers.json_calls import JsonCalls
from worker.chat.parsers.named_calls import NamedCalls
from worker.chat.parsers.stepped import merged
from worker.chat.parsers.tagged_calls import TaggedCalls
from worker.chat.parts import AnswerPart, CallArguments, CallEnd, CallStart, ReasoningPart, TextPart

Arguments = Mapping[str, Any]
Write = Callable[[Sequence[tuple[str, Arguments]]], str]

THINK = ReasoningMarks("<think>", "</think>")
SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "share": {"type": "number"},
        "is_on": {"type": "boolean"},
        "items": {"type": "array"},
        "inner": {"type": "object"},
        "maybe": {"type": ["string", "null"]},
    },
}
TOOLS = (Tool("get_weather", "", SCHEMA), Tool("put", "", SCHEMA))
HERMES = JsonCalls(("<tool_call>",), "</tool_call>", inner_space="\n")
LLAMA = JsonCalls(("<|python_tag|>",), arguments_key="parameters", is_bare=True)
NEMO = JsonCalls(("[TOOL_CALLS]",), is_array=True)
MISTRAL = NamedCalls("[TOOL_CALLS]", "[ARGS]")
KIMI = NamedCalls(
    "<|tool_call_begin|>functions.",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
    "<|tool_calls_section_begin|>",
    "<|tool_calls_section_end|>",
    ":0",
)
DEEPSEEK = NamedCalls(
    "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
    "\n```json\n",
    "\n```<｜tool▁call▁end｜>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
)
QWEN_CODER = TaggedCalls(
    "<tool_call>\n<function=",
    ">\n",
    "<parameter=",
    ">\n",
    "\n</parameter>\n",
    "</function>\n</tool_call>",
)
GLM = TaggedCalls(
    "<tool_call>",
    "\n",
    "<arg_key>",
    "</arg_key>\n<arg_value>",
    "</arg_value>\n",
    "</tool_call>",
)
MINIMAX = TaggedCalls(
    '<invoke name="',
    '">\n',
    '<parameter name="',
    '">',
    "</parameter>\n",
    "</invoke>",
    "<minimax:tool_call>\n",
    "\n</minimax:tool_call>",
)


@dataclass(frozen=True, slots=True)
class Family:
    """`write` is how its models write calls. `closing` is what an argument's text must not hold,
    where nothing in the form could tell it from the end."""

    calls: Calls
    write: Write
    closing: str = ""


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _objects(key: str, before: str, between: str, after: str) -> Write:
    def write(calls: Sequence[tuple[str, Arguments]]) -> str:
        objects = [f'{{"name": {_json(name)}, "{key}": {_json(args)}}}' for name, args in calls]
        return before + between.join(objects) + after

    return write


def _named(shape: NamedCalls) -> Write:
    def write(calls: Sequence[tuple[str, Arguments]]) -> str:
        texts = [
            shape.opener + name + shape.number + shape.separator + _json(args) + shape.closer
            for name, args in calls
        ]
        return shape.section_opener + "".join(texts) + shape.section_closer

    return write


def _tagged(shape: TaggedCalls) -> Write:
    def value(of: Any) -> str:
        return of if isinstance(of, str) else _json(of)

    def write(calls: Sequence[tuple[str, Arguments]]) -> str:
        texts = [
            shape.opener
            + name
            + shape.name_end
            + "".join(
                shape.key_opener + key + shape.key_end + value(of) + shape.value_closer
                for key, of in args.items()
            )
            + shape.closer
            for name, args in calls
        ]
        return shape.section_opener + "\n".join(texts) + shape.section_closer

    return write


def _harmony(calls: Sequence[tuple[str, Arguments]]) -> str:
    head = "<|channel|>commentary to=functions.{} <|constrain|>json<|message|>"
    texts = [head.format(name) + _json(args) + "<|call|>" for name, args in calls]
    return "<|start|>assistant".join(texts)


FAMILIES = {
    "hermes": Family(
        HERMES,
        _objects("arguments", "<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>"),
    ),
    "llama": Family(LLAMA, _objects("parameters", "", "; ", "")),
    "nemo": Family(NEMO, _objects("arguments", "[TOOL_CALLS][", ", ", "]")),
    "mistral": Family(MISTRAL, _named(MISTRAL)),
    "kimi": Family(KIMI, _named(KIMI)),
    "deepseek": Family(DEEPSEEK, _named(DEEPSEEK)),
    "qwen_coder": Family(QWEN_CODER, _tagged(QWEN_CODER), "</parameter>"),
    "glm": Family(GLM, _tagged(GLM), "</arg_value>"),
    "minimax": Family(MINIMAX, _tagged(MINIMAX), "</parameter>"),
    "harmony": Family(HarmonyCalls(), _harmony),
}


def parse(
    calls: Calls,
    text: str,
    cuts: Sequence[int] = (),
    *,
    tools: tuple[Tool, ...] = TOOLS,
    opens_reasoning: bool = False,
) -> list[AnswerPart]:
    """What a parser says of a text that comes in pieces, cut at these places; equal parts that
    follow one another are one, and ids are left out."""
    conversation = Conversation((ChatMessage("user", "hi"),), tools)
    parser = AnswerFormat(calls, THINK, None).parser(conversation, opens_reasoning)  # type: ignore[arg-type]
    parts: list[AnswerPart] = []
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(text)}), len(text)]
    for start, end in zip(places, places[1:], strict=False):
        parts += parser.feed(text[start:end])
    parts += parser.finish()
    return [replace(part, id="") if isinstance(part, CallStart) else part for part in merged(parts)]


def said(parts: Sequence[AnswerPart]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextPart))


def thought(parts: Sequence[AnswerPart]) -> str:
    return "".join(part.text for part in parts if isinstance(part, ReasoningPart))


def called(parts: Sequence[AnswerPart]) -> list[tuple[str, str]]:
    """Names and arguments. Fails unless each call has a start, arguments, and an end."""
    calls: list[tuple[str, str]] = []
    is_open = False
    for part in parts:
        match part:
            case CallStart():
                assert part.index == len(calls) and not is_open
                calls.append((part.name, ""))
                is_open = True
            case CallArguments():
                assert is_open and part.index == len(calls) - 1
                calls[-1] = (calls[-1][0], calls[-1][1] + part.text)
            case CallEnd():
                assert is_open and part.index == len(calls) - 1
                is_open = False
    assert not is_open
    return calls
