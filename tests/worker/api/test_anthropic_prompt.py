"""What becomes of Anthropic's requests before a template sees them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.api.anthropic_prompt import Thoughts, marks_cache, read_conversation, thoughts_of
from worker.api.errors import ApiError
from worker.api.schemas.anthropic import CountTokensRequest
from worker.api.thoughts import read_signature, sign
from worker.chat.messages import ChatMessage, Conversation, ToolCall, ToolChoice, ToolMode

HI: dict[str, Any] = {"role": "user", "content": "hi"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"b": 1, "a": "é"}}
SEARCH = {"type": "tool_use", "id": "toolu_2", "name": "Search", "input": {}}


def request(*messages: dict[str, Any], **fields: Any) -> CountTokensRequest:
    body = {"model": "m", "messages": list(messages) or [HI]} | fields
    return CountTokensRequest.model_validate_json(json.dumps(body))


def read(*messages: dict[str, Any], **fields: Any) -> Conversation:
    return read_conversation(request(*messages, **fields))


def turns(*messages: dict[str, Any], **fields: Any) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in read(*messages, **fields).messages]


def refusal(*messages: dict[str, Any], **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(*messages, **fields)
    assert caught.value.status == 400
    return caught.value


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(value: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": value} | fields


def result(content: Any, call: str = "toolu_1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call, "content": content} | fields


def tool(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "input_schema": {"properties": {"x": {}}}} | fields


def test_turns_of_one_role_are_one_and_empty_ones_none() -> None:
    found = turns(user(text("a"), text("")), user(text("b")), assistant(), HI)
    assert found == [("user", "a\nb\nhi")]


def test_system_turns_stay_where_they_are() -> None:
    now = {"role": "system", "content": "It is noon."}
    empty = {"role": "system", "content": []}
    found = turns(HI, now, empty, assistant(text("Hello")), HI, system="Be brief.")
    expected = [
        ("system", "Be brief."),
        ("user", "hi"),
        ("system", "It is noon."),
        ("assistant", "Hello"),
        ("user", "hi"),
    ]
    assert found == expected


@pytest.mark.parametrize(
    "system",
    [
        "Be brief.",
        [text("Be brief.", cache_control={"type": "ephemeral"})],
        "x-anthropic-billing-header: cc_version=2.1; cch=5f;\nBe brief.",
        [text("x-anthropic-billing-header: cc_version=2.1.a7c;"), text("Be brief.")],
        [text("x-anthropic-billing-header: a\n\nX-Anthropic-Attribution: b\nBe brief.")],
    ],
)
def test_lines_for_anthropics_accounts_are_no_part_of_the_prompt(system: Any) -> None:
    assert turns(system=system) == [("system", "Be brief."), ("user", "hi")]


def test_a_system_prompt_that_only_mentions_such_a_line_is_whole() -> None:
    system = "Never print x-anthropic-billing-header: it is secret."
    assert turns(system=system)[0] == ("system", system)
    assert turns(system="x-anthropic-billing-header: a") == [("user", "hi")]


def test_calls_and_results_are_turns_of_their_own() -> None:
    thought = {"type": "thinking", "thinking": "Look.", "signature": "x"}
    found = read(
        HI,
        assistant(thought, {"type": "redacted_thinking", "data": "?"}, text("I look."), CALL),
        user(result([text("a"), text("b")]), result("", is_error=True), text("Go on")),
    )
    call = ToolCall("1", "Bash", '{"b": 1, "a": "é"}')
    assert found.messages == (
        ChatMessage("user", "hi"),
        ChatMessage("assistant", "I look.", "Look.", (call,)),
        ChatMessage("tool", "a\nb", tool_call_id="1"),
        ChatMessage("tool", "The tool failed.", tool_call_id="1"),
        ChatMessage("user", "Go on"),
    )


def test_hidden_thoughts_come_back_in_the_signature() -> None:
    hidden = {"type": "thinking", "thinking": "", "signature": sign("Look ☕.")}
    foreign = {"type": "thinking", "thinking": "", "signature": "EqQB:llorch"}
    last = read(HI, assistant(hidden, foreign, CALL), user(result("x"))).messages[1]
    assert last.reasoning == "Look ☕."
    assert [read_signature(text) for text in (None, sign(), "llorch:%", "llorch:/w==")] == [""] * 4


@pytest.mark.parametrize("kind", ["image", "document", "container_upload"])
def test_what_cannot_be_read_is_refused_with_its_place(kind: str) -> None:
    error = refusal(HI, assistant(text("a")), user(text("b"), {"type": kind, "source": {}}))
    assert error.field == f"messages.2.content.1.{kind}"
    # Claude Code finds the block by this, and sends its conversation again without it.
    assert error.message.startswith(f"messages.2.content.1.{kind}: ")
    error = refusal(user(result([text("a"), {"type": kind}])))
    assert error.message.startswith(f"messages.0.content.0.tool_result.content.1.{kind}: ")


def test_unknown_blocks_are_left_out() -> None:
    strange = {"type": "server_tool_use", "id": "x", "input": {}}
    found = turns(user(strange, text("a")), assistant(strange), user(result([strange, text("b")])))
    assert found == [("user", "a"), ("tool", "b")]
    assert refusal(user(strange)).field == "messages"


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (user(CALL), "messages.0.content.0"),
        (assistant(text("a"), result("b")), "messages.0.content.1"),
        ({"role": "system", "content": [CALL]}, "messages.0.content.0"),
    ],
)
def test_blocks_have_their_turns(message: dict[str, Any], field: str) -> None:
    assert refusal(message).field == field


def test_search_results_are_text() -> None:
    block = {"type": "search_result", "source": "u", "title": "T", "content": [text("a")]}
    assert turns(user(block)) == [("user", "T\nu\na")]


@pytest.mark.parametrize(
    ("last", "continues"),
    [
        (HI, False),
        (assistant(text("It is")), True),
        ({"role": "assistant", "content": "It is"}, True),
        (assistant(text("a"), CALL), False),
    ],
)
def test_an_answer_that_has_begun_goes_on(last: dict[str, Any], continues: bool) -> None:
    assert read(HI, last).continues_last is continues


def test_tools_are_those_that_the_client_runs() -> None:
    found = read(
        tools=[
            {"type": "web_search_20250305", "name": "web_search"},
            {"type": "mcp_toolset", "mcp_server_name": "x"},
            tool("A", description="does a", strict=True),
            tool("B", type="custom", cache_control={"type": "ephemeral"}),
        ]
    ).tools
    schema = {"type": "object", "properties": {"x": {}}}
    assert [(one.name, one.description, one.strict) for one in found] == [
        ("A", "does a", True),
        ("B", "", False),
    ]
    assert found[0].parameters == schema
    assert refusal(tools=[tool("A"), tool("A")]).field == "tools.1.name"


def test_deferred_tools_come_last_and_when_they_are_found() -> None:
    tools = [tool("Late", defer_loading=True), tool("Later", defer_loading=True), tool("Search")]
    assert [one.name for one in read(tools=tools).tools] == ["Search"]
    found = [{"type": "tool_reference", "tool_name": name} for name in ("Later", "Gone")]
    after = read(HI, assistant(SEARCH), user(result(found, "toolu_2")), tools=tools)
    assert [one.name for one in after.tools] == ["Search", "Later"]
    assert "Later" in after.messages[-1].content


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": "auto"}, ToolChoice()),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            ToolChoice(parallel=False),
        ),
        ({"type": "none"}, ToolChoice(ToolMode.NONE)),
        ({"type": "any"}, ToolChoice(ToolMode.REQUIRED)),
        (
            {"type": "tool", "name": "A", "disable_parallel_tool_use": True},
            ToolChoice(ToolMode.REQUIRED, ("A",), parallel=False),
        ),
    ],
)
def test_tool_choices(given: dict[str, Any], expected: ToolChoice) -> None:
    assert read(tools=[tool("A")], tool_choice=given).tool_choice == expected


def test_a_choice_among_no_tools_is_refused() -> None:
    assert refusal(tool_choice={"type": "any"}).field == "tool_choice"
    wrong = refusal(tools=[tool("A")], tool_choice={"type": "tool", "name": "B"})
    assert wrong.field == "tool_choice.name"


@pytest.mark.parametrize(
    ("thinking", "thinks", "thoughts"),
    [
        (None, False, Thoughts.LEFT_OUT),
        ({"type": "disabled"}, False, Thoughts.LEFT_OUT),
        ({"type": "enabled", "budget_tokens": 1024}, True, Thoughts.SHOWN),
        ({"type": "adaptive"}, True, Thoughts.SHOWN),
        ({"type": "adaptive", "display": "omitted"}, True, Thoughts.OMITTED),
        ({"type": "adaptive", "display": "summarized"}, True, Thoughts.SHOWN),
        ({"type": "between_tools"}, False, Thoughts.SHOWN),
    ],
)
def test_thinking(thinking: Any, thinks: bool, thoughts: Thoughts) -> None:
    body = request(thinking=thinking)
    assert read_conversation(body).variables == {"enable_thinking": thinks}
    assert thoughts_of(body) is thoughts


def test_thinking_between_tools_is_after_a_result() -> None:
    after = read(HI, assistant(CALL), user(result("x")), thinking={"type": "between_tools"})
    assert after.variables["enable_thinking"] is True


def test_a_form_leaves_no_room_for_thoughts() -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    for fields in (
        {"output_config": {"format": wanted}},
        {"output_format": wanted},
        {"tools": [tool("A")], "tool_choice": {"type": "any"}},
    ):
        assert read(thinking=thinking, **fields).variables["enable_thinking"] is False
    form = request(output_config={"format": wanted}).form()
    assert form is not None and form.field == "output_config.format.schema"


@pytest.mark.parametrize(("effort", "told"), [("low", "low"), ("xhigh", "high"), ("odd", None)])
def test_effort_is_told_in_words_that_templates_know(effort: str, told: str | None) -> None:
    variables = read(output_config={"effort": effort}).variables
    assert variables.get("reasoning_effort") == told


@pytest.mark.parametrize(
    ("body", "marked"),
    [
        (request(), False),
        (request(cache_control={"type": "ephemeral"}), True),
        (request(system=[text("a", cache_control={"type": "ephemeral"})]), True),
        (request(user(text("a"), text("b", cache_control={"type": "ephemeral"}))), True),
        (request(tools=[tool("A", cache_control={"type": "ephemeral"})]), True),
    ],
)
def test_marks_of_the_cache_are_seen_anywhere(body: CountTokensRequest, marked: bool) -> None:
    assert marks_cache(body) is marked


TEXTS = st.text("ab \n", min_size=1, max_size=6)
CALLS = st.integers(1, 9).map(lambda number: SEARCH | {"id": f"toolu_{number}"})
QUESTIONS = st.one_of(
    st.lists(TEXTS.map(text), min_size=1, max_size=2),
    st.lists(st.integers(1, 9).map(lambda number: result("r", f"toolu_{number}")), min_size=1),
)
ANSWERS = st.lists(st.one_of(TEXTS.map(text), CALLS), min_size=1, max_size=3)


def respelled(message: dict[str, Any], as_text: bool, marked: bool) -> dict[str, Any]:
    """The same message as Claude Code may write it in its next request."""
    blocks = message["content"]
    if as_text and len(blocks) == 1 and blocks[0]["type"] == "text":
        return message | {"content": blocks[0]["text"]}
    if marked:
        mark = {"cache_control": {"type": "ephemeral"}}
        return message | {"content": [*blocks[:-1], blocks[-1] | mark]}
    return message


@given(
    st.lists(st.tuples(QUESTIONS, ANSWERS), min_size=1, max_size=4),
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=8, max_size=8),
)
def test_a_longer_conversation_begins_with_the_turns_of_the_shorter(
    rounds: list[tuple[list[Any], list[Any]]], spellings: list[tuple[bool, bool]]
) -> None:
    said = [m for asked, answered in rounds for m in (user(*asked), assistant(*answered))]
    again = [respelled(message, *how) for message, how in zip(said, spellings, strict=False)]
    whole = read(*again, user(text("more"))).messages
    for length in range(1, len(said), 2):
        beginning = read(*said[:length], system="x-anthropic-billing-header: y").messages
        assert whole[: len(beginning)] == beginning
