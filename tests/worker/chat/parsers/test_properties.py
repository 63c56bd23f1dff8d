"""What holds for every parser and every text: cutting changes nothing, calls come back whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.worker.chat.parsers.shapes import FAMILIES, called, parse, said, thought

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    [
        "</tool_call>",
        '{"name": "put", "arguments": {}}',
        "[TOOL_CALLS]put[ARGS]{}",
        "<|call|><|end|>",
        "\n```<｜tool▁call▁end｜>",
        'a "quoted" \\ back\\slash } ] {',
        "line\n\nline\n",
        "<think>",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "text": TEXTS,
        "count": st.integers(),
        "share": st.floats(allow_nan=False, allow_infinity=False),
        "is_on": st.booleans(),
        "items": st.lists(VALUES, max_size=3),
        "inner": st.dictionaries(TEXTS, VALUES, max_size=3),
        "maybe": st.none(),
    },
)
CALLS = st.lists(st.tuples(st.sampled_from(["get_weather", "put"]), ARGUMENTS), max_size=3)
CUTS = st.lists(st.integers(1, 400), max_size=40)
PIECES = st.sampled_from(
    [
        "<tool_call>",
        "</tool_call>",
        "<think>",
        "</think>",
        "[TOOL_CALLS]",
        "[ARGS]",
        "put",
        "nope",
        '{"name": "put"',
        '"arguments": ',
        '"parameters": {',
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        '"',
        "\\",
        '"a": 1',
        '"a": "x',
        "true",
        "-",
        "1.5e",
        "\n",
        " ",
        "<function=",
        "get_weather",
        ">",
        "<parameter=text>",
        "\n</parameter>",
        "</function>",
        "<arg_key>",
        "text",
        "</arg_key>",
        "<arg_value>",
        "</arg_value>",
        '<invoke name="put">',
        '<parameter name="count">',
        "</parameter>",
        "</invoke>",
        "<minimax:tool_call>",
        "</minimax:tool_call>",
        "<|channel|>",
        "analysis",
        "final",
        "commentary to=functions.put ",
        "<|message|>",
        "<|end|>",
        "<|start|>assistant",
        "<|call|>",
        "<|tool_calls_section_begin|>",
        "<|tool_call_begin|>functions.put:0",
        "<|tool_call_end|>",
        "<|tool_call_argument_begin|>",
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>put\n```json\n",
        "```",
        "\\ud83d",
        "\\u00",
        "é",
        "😀",
        "<",
        "word ",
        "None",
        ";",
        "<|python_tag|>",
        " to=",
    ]
)
MANGLED = st.lists(PIECES | TEXTS, max_size=25).map("".join)

every_family = pytest.mark.parametrize("name", FAMILIES)


@every_family
@settings(max_examples=40)
@given(text=MANGLED, cuts=CUTS, opens=st.booleans())
@example('{"name": "put", "arguments": {"a": tru', [3, 9], False)
def test_cutting_changes_nothing(name: str, text: str, cuts: list[int], opens: bool) -> None:
    calls = FAMILIES[name].calls
    whole = parse(calls, text, opens_reasoning=opens)
    assert parse(calls, text, cuts, opens_reasoning=opens) == whole
    assert parse(calls, text, range(len(text)), opens_reasoning=opens) == whole
    called(whole)


@every_family
@settings(max_examples=40)
@given(calls=CALLS, cuts=CUTS)
def test_calls_come_back(
    name: str, calls: list[tuple[str, dict[str, Any]]], cuts: list[int]
) -> None:
    family = FAMILIES[name]
    if family.closing:
        calls = [
            (tool, {key: of for key, of in args.items() if family.closing not in json.dumps(of)})
            for tool, args in calls
        ]
    parts = parse(family.calls, family.write(calls) if calls else "", cuts)
    assert [(tool, json.loads(text)) for tool, text in called(parts)] == calls
    assert said(parts) == ""


@every_family
@settings(max_examples=40)
@given(text=MANGLED, cuts=CUTS)
def test_without_tools_text_is_text(name: str, text: str, cuts: list[int]) -> None:
    if name == "harmony":
        return
    text = "Said: " + text
    parts = parse(FAMILIES[name].calls, text, cuts, tools=())
    assert said(parts) == text
    assert thought(parts) == "" and called(parts) == []


@every_family
@settings(max_examples=40)
@given(text=MANGLED)
def test_nothing_is_lost_unless_there_is_a_call(name: str, text: str) -> None:
    if name == "harmony":
        return
    parts = parse(FAMILIES[name].calls, "Said: " + text)
    if not called(parts):
        assert said(parts) == "Said: " + text
