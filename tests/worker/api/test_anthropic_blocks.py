"""Parts of an answer as Anthropic's content blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.api.anthropic_blocks import BlockWriter, MessageReader
from worker.api.anthropic_prompt import Thoughts
from worker.api.thoughts import read_signature
from worker.chat.parts import (
    AnswerPart,
    CallArguments,
    CallEnd,
    CallStart,
    ReasoningPart,
    TextPart,
)

Record = dict[str, Any]


def write(pieces: Sequence[Sequence[AnswerPart]], thoughts: Thoughts) -> list[Record]:
    writer = BlockWriter(thoughts)
    events = [event for parts in pieces for event in writer.read(parts)]
    return events + list(writer.finish())


def blocks(*parts: AnswerPart, thoughts: Thoughts = Thoughts.SHOWN) -> list[Record]:
    return gather(write([parts], thoughts))


def gather(events: Sequence[Record]) -> list[Record]:
    reader = MessageReader()
    reader.read({"type": "message_start", "message": {"content": []}})
    for event in events:
        reader.read(event)
    content: list[Record] = reader.message["content"]
    return content


def text(value: str) -> Record:
    return {"type": "text", "text": value, "citations": None}


def call(index: int, *arguments: str) -> list[AnswerPart]:
    pieces = [CallArguments(index, piece) for piece in arguments]
    return [CallStart(index, f"c{index}", "Bash"), *pieces, CallEnd(index)]


def test_blocks_follow_each_other_as_the_parts_do() -> None:
    parts: list[AnswerPart] = [
        ReasoningPart("h"),
        ReasoningPart("m"),
        TextPart("\n"),
        TextPart("I look."),
    ]
    found = blocks(*parts, *call(0, '{"a": ', "1}"), *call(1))
    assert found == [
        {"type": "thinking", "thinking": "hm", "signature": "llorch"},
        text("\nI look."),
        {"type": "tool_use", "id": "toolu_c0", "name": "Bash", "input": {"a": 1}},
        {"type": "tool_use", "id": "toolu_c1", "name": "Bash", "input": {}},
    ]


def test_events_have_the_order_and_the_fields_that_clients_need() -> None:
    events = write([[ReasoningPart("h"), TextPart("a"), *call(0, "{}")]], Thoughts.SHOWN)
    starts = [event["content_block"] for event in events if "content_block" in event]
    assert starts == [
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "text", "text": "", "citations": None},
        {"type": "tool_use", "id": "toolu_c0", "name": "Bash", "input": {}},
    ]
    told = [(event["type"], event["index"], event.get("delta")) for event in events]
    assert told[1:4] == [
        ("content_block_delta", 0, {"type": "thinking_delta", "thinking": "h"}),
        ("content_block_delta", 0, {"type": "signature_delta", "signature": "llorch"}),
        ("content_block_stop", 0, None),
    ]
    assert told[8:] == [
        ("content_block_delta", 2, {"type": "input_json_delta", "partial_json": "{}"}),
        ("content_block_stop", 2, None),
    ]


def test_white_space_between_others_is_no_block() -> None:
    space = TextPart("\n\n")
    found = blocks(ReasoningPart("hm"), space, *call(0), space, *call(1), space)
    assert [block["type"] for block in found] == ["thinking", "tool_use", "tool_use"]


def test_an_empty_answer_is_one_empty_text() -> None:
    assert blocks() == [text("")]
    assert blocks(TextPart(" "), TextPart("\n")) == [text(" \n")]


def test_thoughts_that_nobody_wants_are_left_out() -> None:
    parts: list[AnswerPart] = [
        ReasoningPart("hm"),
        TextPart("a"),
        ReasoningPart("hm"),
        TextPart("b"),
    ]
    assert blocks(*parts, thoughts=Thoughts.LEFT_OUT) == [text("ab")]


def test_omitted_thoughts_are_in_the_signature_only() -> None:
    found = blocks(ReasoningPart("h"), ReasoningPart("é"), *call(0), thoughts=Thoughts.OMITTED)
    assert found[0]["thinking"] == ""
    assert read_signature(found[0]["signature"]) == "hé"


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ('{"a": 1, "b": [2', {"a": 1, "b": [2]}),
        ('{"a": "x', {}),
        ("", {}),
        ("[1]", {}),
        ("nonsense", {}),
    ],
)
def test_a_call_that_was_cut_off_has_the_arguments_that_came(
    arguments: str, value: dict[str, Any]
) -> None:
    found = blocks(CallStart(0, "c", "Bash"), CallArguments(0, arguments))
    assert found[0]["input"] == value


PIECES = st.text("ab \n", min_size=1, max_size=3)
PARTS = st.lists(
    st.one_of(
        PIECES.map(lambda piece: [TextPart(piece)]),
        PIECES.map(lambda piece: [ReasoningPart(piece)]),
        st.integers(0, 3).map(lambda index: call(index, "{", "}")),
    ),
    max_size=8,
).map(lambda groups: [part for group in groups for part in group])


@given(PARTS, st.lists(st.integers(0, 24)), st.sampled_from(Thoughts))
def test_however_the_parts_come_the_blocks_are_the_same(
    parts: list[AnswerPart], cuts: list[int], thoughts: Thoughts
) -> None:
    places = [0, *sorted(cut for cut in cuts if cut <= len(parts)), len(parts)]
    pieces = [parts[a:b] for a, b in zip(places, places[1:], strict=False)]
    events = write(pieces, thoughts)
    assert gather(events) == blocks(*parts, thoughts=thoughts)
    open_at, closed = -1, True
    for event in events:
        if event["type"] == "content_block_start":
            assert closed
            open_at, closed = open_at + 1, False
        assert event["index"] == open_at and not (closed and event["type"] != "content_block_stop")
        closed |= event["type"] == "content_block_stop"
    assert closed and open_at >= 0
