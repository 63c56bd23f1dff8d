"""Conversations, by the templates of real models."""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.runner import ByteVocab
from tests.rigs.api_server import template_sandbox
from worker.chat.capabilities import Arguments, CallIds, Capabilities
from worker.chat.format import ChatFormat
from worker.chat.messages import ChatMessage, Conversation, Role, Tool, ToolCall
from worker.chat.parts import CallStart
from worker.chat.prompt import Prompt
from worker.chat.sandbox import TemplateFailed, TemplateSandbox
from worker.chat.template import ChatTemplate
from worker.engine.runner import ModelInfo

TEMPLATES = {path.stem: path for path in sorted(Path(__file__).parent.glob("templates/*.jinja"))}
NOW = datetime(2026, 3, 1, 12, 0)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "any": {}}}
WEATHER = Tool("get_weather", "Tells the weather.", SCHEMA)
ROME = ToolCall("toolu_01Rome", "get_weather", '{"city": "Rome"}')
OSLO = ToolCall("toolu_02Oslo", "get_weather", '{"city": "Oslo"}')


class MarkVocab(ByteVocab):
    control_tokens = frozenset({"<|im_end|>", "<|eot_id|>", "[INST]"})


every_template = pytest.mark.parametrize("name", TEMPLATES)


@cache
def chat_of(name: str) -> ChatFormat:
    source = TEMPLATES[name].read_text(encoding="utf-8")
    template = ChatTemplate(source, template_sandbox(), bos_token="<s>", eos_token="</s>")
    return ChatFormat(template, MarkVocab())


def system(content: str) -> ChatMessage:
    return ChatMessage("system", content)


def user(content: str) -> ChatMessage:
    return ChatMessage("user", content)


def assistant(content: str, *calls: ToolCall, reasoning: str = "") -> ChatMessage:
    return ChatMessage("assistant", content, reasoning, calls)


def result(call: ToolCall, content: str) -> ChatMessage:
    return ChatMessage("tool", content, tool_call_id=call.id)


def prompt_of(name: str, *messages: ChatMessage, **more: Any) -> Prompt:
    return chat_of(name).render(Conversation(messages, **more), NOW)


def render(name: str, *messages: ChatMessage, **more: Any) -> str:
    return prompt_of(name, *messages, **more).text


def words_in(text: str) -> list[str]:
    """The last place of each word that the tests use, in their order."""
    found = {word[0]: word.start() for word in re.finditer(r"\b[A-Z]{3}[0-9]\b", text)}
    return sorted(found, key=found.__getitem__)


@every_template
def test_every_turn_is_shown_where_it_stands(name: str) -> None:
    turns = [system("SYS1"), system("SYS2"), user("USR1"), assistant("ANS1"), user("USR2")]
    assert words_in(render(name, *turns)) == ["SYS1", "SYS2", "USR1", "ANS1", "USR2"]


@every_template
def test_instructions_in_mid_conversation_stay_there(name: str) -> None:
    turns = [user("USR1"), system("SYS1"), assistant("ANS1"), user("USR2"), system("SYS2")]
    assert words_in(render(name, *turns)) == ["USR1", "SYS1", "ANS1", "USR2", "SYS2"]


@every_template
def test_nothing_is_said_by_an_empty_instruction(name: str) -> None:
    turns = [user("USR1"), system(""), assistant("ANS1"), user("USR2"), user("USR3")]
    assert words_in(render(name, *turns)) == ["USR1", "ANS1", "USR2", "USR3"]


@every_template
def test_tools_calls_and_results_are_shown(name: str) -> None:
    turns = [
        system("SYS1"),
        user("USR1"),
        assistant("", ROME),
        result(ROME, "RES1"),
        assistant("ANS1"),
        user("USR2"),
        assistant("", OSLO),
        result(OSLO, "RES2"),
    ]
    text = render(name, *turns, tools=(WEATHER,))
    assert set(words_in(text)) == {"SYS1", "USR1", "RES1", "ANS1", "USR2", "RES2"}
    assert "Tells the weather." in text and "city" in text
    assert text.count("get_weather") >= 2
    assert text.index("Rome") < text.rindex("RES1") < text.index("Oslo") < text.rindex("RES2")


@every_template
def test_several_calls_in_one_turn_are_all_shown(name: str) -> None:
    turns = [user("USR1"), assistant("", ROME, OSLO), result(OSLO, "RES2"), result(ROME, "RES1")]
    text = render(name, *turns, tools=(WEATHER,))
    assert all(word in text for word in ("Rome", "Oslo", "RES1", "RES2"))


@every_template
def test_the_user_may_speak_after_a_result(name: str) -> None:
    turns = [user("USR1"), assistant("", ROME), result(ROME, "RES1"), user("USR2"), system("SYS1")]
    assert words_in(render(name, *turns, tools=(WEATHER,))) == ["USR1", "RES1", "USR2", "SYS1"]


@every_template
def test_a_malformed_call_in_the_history_does_not_end_it(name: str) -> None:
    for arguments in ('{"city": ', "", "[1]", '"x"', "[" * 100_000):
        call = ToolCall("toolu_01", "get_weather", arguments)
        text = render(name, user("USR1"), assistant("", call), result(call, "RES1"))
        assert words_in(text) == ["USR1", "RES1"]


@every_template
def test_a_result_without_a_call_is_shown_to_the_model(name: str) -> None:
    assert words_in(render(name, user("USR1"), result(ROME, "RES1"))) == ["USR1", "RES1"]


@every_template
def test_a_tool_without_a_schema_is_shown(name: str) -> None:
    assert "get_weather" in render(name, user("USR1"), tools=(Tool("get_weather"),))


@every_template
def test_an_answer_that_is_begun_goes_on_where_it_ends(name: str) -> None:
    text = render(name, user("USR1"), assistant("ANS1 and "), continues_last=True)
    assert text.endswith("ANS1 and ") and words_in(text) == ["USR1", "ANS1"]


@every_template
def test_what_cannot_be_continued_is_refused(name: str) -> None:
    for last in (user("x"), assistant("", ROME)):
        with pytest.raises(TemplateFailed, match="only an assistant's turn"):
            render(name, user("USR1"), last, continues_last=True)


@every_template
def test_a_later_prompt_begins_as_the_earlier_one(name: str) -> None:
    """But for what the template adds to the last turn, or takes away from those before it."""
    before = [system("SYS1"), user("USR1"), system("SYS2"), assistant("ANS1"), user("USR2")]
    first = render(name, *before)
    second = render(name, *before, assistant("ANS2"), system("SYS3"), user("USR3"))
    assert second.startswith(first[: first.index("USR2")])


@every_template
def test_a_result_is_found_by_the_id_that_was_given_it(name: str) -> None:
    """Whatever becomes of the ids of the client, they are the same for the call and its result."""
    text = render(name, user("x"), assistant("", ROME), result(ROME, "RES1"), tools=(WEATHER,))
    ids = re.findall(r'"(?:id|call_id)": "(\w+)"', text)
    assert len(set(ids)) <= 1


def test_thoughts_come_back_to_those_who_want_them() -> None:
    turns = [user("USR1"), assistant("", ROME, reasoning="THK1"), result(ROME, "RES1")]
    for name in ("qwen3", "glm-4.6", "gpt-oss"):
        assert "THK1" in render(name, *turns, tools=(WEATHER,))


def test_thoughts_words_and_a_call_fit_into_one_turn() -> None:
    turns = [user("USR1"), assistant("ANS1", ROME, reasoning="THK1"), result(ROME, "RES1")]
    for name in ("qwen3", "gpt-oss", "llama3.1"):
        assert "ANS1" in render(name, *turns, tools=(WEATHER,))


def test_thinking_is_switched() -> None:
    off = prompt_of("qwen3", user("x"), variables={"enable_thinking": False})
    assert off.text.endswith("</think>\n\n") and not off.opens_reasoning
    r1 = prompt_of("deepseek-v3.1", user("x"), variables={"enable_thinking": True})
    assert r1.text.endswith("<think>") and r1.opens_reasoning
    assert "Reasoning: low" in render("gpt-oss", user("x"), variables={"reasoning_effort": "low"})


def test_what_was_found_out() -> None:
    assert chat_of("qwen3").capabilities == Capabilities(
        tools=True,
        calls=True,
        many_calls=True,
        results=True,
        reasoning_key="reasoning_content",
        thinking_variable="enable_thinking",
    )
    nemo = chat_of("mistral-nemo").capabilities
    assert (nemo.call_ids, nemo.same_role, nemo.user_after_result) == (CallIds.SHORT, False, False)
    gemma = chat_of("gemma-2").capabilities
    assert (gemma.system, gemma.tools, gemma.calls) == (False, False, False)
    assert chat_of("gpt-oss").capabilities.reasoning_key == "thinking"
    assert chat_of("llama3.1").capabilities.arguments is Arguments.OBJECT


def test_an_answer_is_read_as_the_template_writes_calls() -> None:
    chat, conversation = chat_of("qwen3"), Conversation((user("x"),), (WEATHER,))
    parser = chat.parser(conversation, chat.render(conversation, NOW))
    text = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'
    parts = parser.feed(text) + parser.finish()
    assert [part.name for part in parts if isinstance(part, CallStart)] == ["get_weather"]


def test_a_model_may_have_a_template_for_tools(sandbox: TemplateSandbox) -> None:
    for_tools = "{{ messages[-1].content }} {{ tools[0].function | tojson }}"
    info = ModelInfo("x", chat_template="plain", tool_chat_template=for_tools)
    chat = ChatFormat.load(info, ByteVocab(), sandbox)
    assert chat.render(Conversation((user("x"),)), NOW).text == "plain"
    assert "get_weather" in chat.render(Conversation((user("x"),), (WEATHER,)), NOW).text
    assert chat.capabilities.tools


@pytest.mark.parametrize(
    "source", ["{% if %}", "{{ 9 ** 999999999 }}", "{{ raise_exception('never') }}", ""]
)
def test_a_broken_template_says_so_when_it_is_asked(
    source: str, sandbox: TemplateSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.chat.template.RENDER_TIMEOUT_S", 0.3)
    chat = ChatFormat(ChatTemplate(source, sandbox), ByteVocab())
    try:
        assert chat.render(Conversation((user("x"),)), NOW).text == ""
    except TemplateFailed as error:
        assert str(error)


@pytest.mark.parametrize("depth", [100, 300, 600, 900, 5000])
def test_deep_nesting_is_shown_or_refused(depth: int) -> None:
    call = ToolCall("toolu_01", "get_weather", '{"a":' * depth + "1" + "}" * depth)
    deep: dict[str, Any] = {}
    for _ in range(depth):
        deep = {"a": deep}
    turns = [user("USR1"), assistant("", call), result(call, "RES1")]
    for tools in ((), (Tool("x", "", deep),)):
        try:
            assert "RES1" in render("qwen3", *turns, tools=tools)
        except TemplateFailed as error:
            assert depth > 100 and str(error)


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(TemplateFailed, match="surrogate"):
        render("qwen3", user("\ud800"))


ROLES: list[Role] = ["system", "user", "assistant", "tool"]
TEXT = st.sampled_from(["", "x", "</think>", "a\nb", "é😀", "{{ x }}", "[INST]", "\0"]) | st.text()
CALLS = st.builds(ToolCall, st.text(max_size=3), st.text(max_size=5), TEXT)
MESSAGES = st.builds(
    ChatMessage,
    st.sampled_from(ROLES),
    TEXT,
    TEXT,
    st.lists(CALLS, max_size=2).map(tuple),
    st.text(max_size=3),
    st.text(max_size=3),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
TOOLS = st.builds(Tool, st.text(max_size=5), TEXT, st.dictionaries(TEXT, JSON, max_size=3))


@settings(deadline=None, max_examples=100)
@given(
    name=st.sampled_from(sorted(TEMPLATES)),
    messages=st.lists(MESSAGES, min_size=1, max_size=6).map(tuple),
    tools=st.lists(TOOLS, max_size=2).map(tuple),
    variables=st.dictionaries(st.text(max_size=8), JSON, max_size=2),
    continues=st.booleans(),
)
def test_any_conversation_is_rendered_or_refused(
    name: str, messages: Any, tools: Any, variables: Any, continues: bool
) -> None:
    try:
        prompt = prompt_of(
            name, *messages, tools=tools, variables=variables, continues_last=continues
        )
    except TemplateFailed as error:
        assert str(error)
    else:
        prompt.text.encode()
