"""Answers that models give, well formed and not."""

from __future__ import annotations

import json
import re

import pytest

from tests.fakes.runner import FakeRunner
from tests.worker.chat.parsers.shapes import (
    FAMILIES,
    GLM,
    HERMES,
    KIMI,
    LLAMA,
    MINIMAX,
    MISTRAL,
    QWEN_CODER,
    THINK,
    TOOLS,
    called,
    parse,
    said,
    thought,
)
from worker.chat.messages import ChatMessage, Conversation, ToolChoice, ToolMode
from worker.chat.parsers.answer import ReasoningMarks
from worker.chat.parsers.answer_format import AnswerFormat
from worker.chat.parsers.harmony import HarmonyCalls
from worker.chat.parts import CallArguments, CallEnd, CallStart, TextPart

USER = (ChatMessage("user", "hi"),)


def test_text_thoughts_and_calls_are_told_apart() -> None:
    text = (
        "<think>\nIt asks for rain.\n</think>\n\nI will look.\n\n<tool_call>\n"
        '{"name": "get_weather", "arguments": {"text": "</tool_call> {"}}\n</tool_call>\n'
        '<tool_call>{"arguments": {"count": 1}, "name": "put"}</tool_call>\n Done.'
    )
    parts = parse(HERMES, text)
    assert thought(parts) == "It asks for rain."
    assert said(parts) == "I will look.Done."
    assert called(parts) == [
        ("get_weather", '{"text": "</tool_call> {"}'),
        ("put", '{"count": 1}'),
    ]


def test_a_prompt_may_have_opened_the_thoughts() -> None:
    parts = parse(HERMES, "Hm.\n</think>\n\nYes.", opens_reasoning=True)
    assert (thought(parts), said(parts)) == ("Hm.", "Yes.")


def test_thoughts_are_only_at_the_start() -> None:
    parts = parse(HERMES, "The tag <think> opens, </think> closes.")
    assert said(parts) == "The tag <think> opens, </think> closes."


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "nobody", "arguments": {}}</tool_call>',
        '<tool_call>{"arguments": {}}</tool_call>',
        "<tool_call>get_weather</tool_call>",
        '<tool_call>{"name": "put", "arguments": [1]}</tool_call>',
        '<tool_call>{"name": "put", "arguments": "[1]"}</tool_call>',
        '<tool_call>{"name": 5}</tool_call>',
        "a < b <tool_ca",
        "<tool_call>",
        "",
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    parts = parse(HERMES, "See: " + text)
    assert said(parts) == "See: " + text
    assert called(parts) == []


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('{"a": "x\ny\tz"}', {"a": "x\ny\tz"}),
        ('{"a": True, "b": None,}', {"a": True, "b": None}),
        (r'{"a": "C:\dir \d+ \'q\'"}', {"a": r"C:\dir \d+ 'q'"}),
        (r'{"a": "\ud83d\ude00 \ud83d \u00e9"}', {"a": "😀 \ufffd é"}),
        ("null", {}),
        (r'"{\"a\": 1}"', {"a": 1}),
        ('{"a": [1, oops]}', {"a": [1]}),
    ],
)
def test_small_mistakes_in_json_are_put_right(written: str, meant: object) -> None:
    parts = parse(HERMES, f'<tool_call>{{"name": "put", "arguments": {written}}}</tool_call>')
    ((_, arguments),) = called(parts)
    assert json.loads(arguments) == meant


def test_an_answer_cut_off_keeps_what_was_sent() -> None:
    parts = parse(HERMES, '<tool_call>{"name": "put", "arguments": {"text": "half a sen')
    assert called(parts) == [("put", '{"text": "half a sen')]


@pytest.mark.parametrize("end", ["}", "}\n", "}\n</", "}\n</tool_cal"])
def test_the_rest_of_a_call_s_marks_is_no_text(end: str) -> None:
    parts = parse(HERMES, '<tool_call>{"name": "put", "arguments": {}' + end)
    assert called(parts) == [("put", "{}")]
    assert not any(isinstance(part, TextPart) for part in parts)


def test_brackets_nested_too_deep_are_not_an_error() -> None:
    deep = '{"name": "put", "arguments": {"a": ' + "[" * 5000
    ((_, arguments),) = called(parse(LLAMA, deep))
    json.loads(arguments)


def test_a_call_comes_as_it_is_written() -> None:
    parser = AnswerFormat(HERMES, THINK, FakeRunner(b"").vocab).parser(
        Conversation(USER, TOOLS), opens_reasoning=False
    )
    assert parser.feed("Well") == [TextPart("Well")]
    assert parser.feed("\n\n<tool") == []
    assert parser.feed('_call>{"name": "get_wea') == []
    start, begin = parser.feed('ther", "arguments": {')
    assert isinstance(start, CallStart)
    assert (start.index, start.name, begin) == (0, "get_weather", CallArguments(0, "{"))
    assert re.fullmatch("call_[0-9a-f]{24}", start.id)
    assert parser.feed('"text": "Par') == [CallArguments(0, '"text": "Par')]
    assert parser.feed("is") == [CallArguments(0, "is")]
    assert parser.feed('"}') == [CallArguments(0, '"}'), CallEnd(0)]
    assert parser.feed("}\n</tool_call>") == []
    assert parser.finish() == []


def test_strings_between_tags_come_as_they_are_written() -> None:
    parser = AnswerFormat(QWEN_CODER, None, FakeRunner(b"").vocab).parser(
        Conversation(USER, TOOLS), opens_reasoning=False
    )
    parser.feed("<tool_call>\n<function=put>\n<parameter=text>\n")
    assert parser.feed('say "hi') == [CallArguments(0, 'say \\"hi')]
    assert parser.feed("\n") == []
    assert parser.feed("now") == [CallArguments(0, "\\nnow")]


def test_ids_differ() -> None:
    text = FAMILIES["hermes"].write([("put", {}), ("put", {})])
    parser = AnswerFormat(HERMES, None, FakeRunner(b"").vocab).parser(
        Conversation(USER, TOOLS), False
    )
    ids = [part.id for part in parser.feed(text) if isinstance(part, CallStart)]
    assert len(set(ids)) == 2


@pytest.mark.parametrize("mode", [ToolMode.AUTO, ToolMode.NONE])
def test_calls_are_only_read_where_tools_may_be_called(mode: ToolMode) -> None:
    text = 'x <tool_call>{"name": "put", "arguments": {}}</tool_call>'
    tools = TOOLS if mode is ToolMode.NONE else ()
    parser = AnswerFormat(HERMES, THINK, FakeRunner(b"").vocab).parser(
        Conversation(USER, tools, ToolChoice(mode)), False
    )
    assert [*parser.feed(text), *parser.finish()] == [TextPart(text)]


def test_bare_calls_begin_a_line_and_name_a_tool() -> None:
    text = 'In prose {"name": "put", "parameters": {}} is none.\n{"name": "Bob"}\n'
    parts = parse(LLAMA, text + ' {"name": "put", "parameters": {"count": 1}}')
    assert said(parts) == text.rstrip()
    assert called(parts) == [("put", '{"count": 1}')]
    typed = '<|python_tag|>{"type": "function", "function": "put", "parameters": {}}'
    assert called(parse(LLAMA, typed)) == [("put", "{}")]


def test_json_that_is_no_call_streams() -> None:
    parser = AnswerFormat(LLAMA, None, FakeRunner(b"").vocab).parser(
        Conversation(USER, TOOLS), False
    )
    assert parser.feed('{"city": "Par') == [TextPart('{"city": "Par')]


def test_names_before_marks() -> None:
    text = '[TOOL_CALLS]put[CALL_ID]abc123XYZ[ARGS]{"text": "[ARGS]"}[TOOL_CALLS]put[ARGS]{}'
    assert called(parse(MISTRAL, text)) == [("put", '{"text": "[ARGS]"}'), ("put", "{}")]
    text = "<|tool_call_begin|>functions.put:3<|tool_call_argument_begin|>{}<|tool_call_end|>"
    assert called(parse(KIMI, text)) == [("put", "{}")]


def test_bare_text_becomes_what_the_schema_says() -> None:
    call = "<tool_call>\n<function=put>\n{}</function>\n</tool_call>"
    values = {"text": "5", "count": "5", "share": "1e3", "is_on": "True", "inner": '{"a": 1}'}
    values |= {"maybe": "null", "unknown": "[1]", "items": "no list"}
    tags = "".join(f"<parameter={key}>\n{of}\n</parameter>\n" for key, of in values.items())
    ((_, arguments),) = called(parse(QWEN_CODER, call.format(tags)))
    assert json.loads(arguments) == {
        "text": "5",
        "count": 5,
        "share": 1000.0,
        "is_on": True,
        "inner": {"a": 1},
        "maybe": None,
        "unknown": [1],
        "items": "no list",
    }


def test_outer_tags_and_spaces_may_be_missing() -> None:
    text = "<function=put><parameter=text>x</parameter></function>"
    assert called(parse(QWEN_CODER, text)) == [("put", '{"text": "x"}')]
    text = "<tool_call>put<arg_key>text</arg_key><arg_value>x</arg_value></tool_call>"
    assert called(parse(GLM, text)) == [("put", '{"text": "x"}')]
    text = '<invoke name="put"></invoke> Done.'
    assert called(parse(MINIMAX, text)) == [("put", "{}")]


def test_channels() -> None:
    text = (
        "<|channel|>analysis<|message|>Rain?<|end|><|start|>assistant<|channel|>commentary"
        "<|message|>I look.<|end|><|start|>assistant to=functions.put<|channel|>commentary json"
        '<|message|>{"text": "<|end|>"}<|call|>'
    )
    parts = parse(HarmonyCalls(), text)
    assert (thought(parts), said(parts)) == ("Rain?", "I look.")
    assert called(parts) == [("put", '{"text": "<|end|>"}')]
    parts = parse(HarmonyCalls(), "<|channel|>final<|message|>It rains.")
    assert said(parts) == "It rains."
    assert said(parse(HarmonyCalls(), "It rains.")) == "It rains."


def test_heads_without_a_message_are_text() -> None:
    text = "<|start|>assistant to=" * 100
    assert said(parse(HarmonyCalls(), text)) == text


def test_words_of_the_prompt_may_open_thoughts() -> None:
    marks = ReasoningMarks("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]")
    parser = AnswerFormat(HERMES, marks, FakeRunner(b"").vocab).parser(Conversation(USER), True)
    parts = [*parser.feed("Hm.\n[BEGIN FINAL RESPONSE]\nYes."), *parser.finish()]
    assert (thought(parts), said(parts)) == ("Hm.", "Yes.")
