"""How one model wants to be talked to, and how it answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from worker.chat.capabilities import Capabilities
from worker.chat.control_tokens import ControlTokens, Disguise
from worker.chat.messages import ChatMessage, Conversation
from worker.chat.parsers.detect import find_answer_format
from worker.chat.parts import AnswerParser
from worker.chat.probe import find_capabilities
from worker.chat.prompt import Prompt
from worker.chat.samples import find_samples
from worker.chat.sandbox import TemplateSandbox
from worker.chat.template import ChatTemplate, TemplateFailed
from worker.chat.turns import make_tools, make_turns
from worker.engine.constraint import ConstraintSpec
from worker.engine.runner import ModelInfo, Vocab

_CUT = "q7e1c9d04b2f8a6z"
"""Ends the last turn where the answer goes on."""


class ChatFormat:
    """A model's chat template, and the marks it sets around calls and thoughts."""

    def __init__(
        self,
        template: ChatTemplate,
        vocab: Vocab,
        tool_template: ChatTemplate | None = None,
    ) -> None:
        """Blocks while the templates are probed. `tool_template` is for conversations with tools,
        where a model has one of its own for them."""
        self._control_tokens = ControlTokens(vocab.control_tokens)
        self._plain = _Style(template, vocab)
        self._with_tools = self._plain
        if tool_template is not None:
            self._with_tools = _Style(tool_template, vocab)

    @classmethod
    def load(cls, info: ModelInfo, vocab: Vocab, sandbox: TemplateSandbox) -> ChatFormat:
        """That of a model. Blocks for some tens of milliseconds."""

        def template(source: str | None) -> ChatTemplate:
            return ChatTemplate(source, sandbox, bos_token=info.bos_token, eos_token=info.eos_token)

        for_tools = info.tool_chat_template
        return cls(
            template(info.chat_template),
            vocab,
            None if for_tools is None else template(for_tools),
        )

    @property
    def capabilities(self) -> Capabilities:
        """What the template can; of two, the one for tools."""
        return self._with_tools.capabilities

    def render(self, conversation: Conversation, now: datetime) -> Prompt:
        """The prompt, up to where the answer begins. Blocks: call it off the event loop.

        Raises TemplateFailed.
        """
        try:
            return self._render(conversation, now)
        except RecursionError:
            raise TemplateFailed("it is nested too deeply") from None

    def _render(self, conversation: Conversation, now: datetime) -> Prompt:
        style = self._style(conversation)
        given = style.given(conversation)
        if not self._control_tokens.are_in(given):
            text = _checked(style.render(given, conversation, now))
            return Prompt(text, style.opens_reasoning(text))
        disguise = Disguise(self._control_tokens)
        text = _checked(style.render(disguise.put_on(given), conversation, now))
        opens_reasoning = style.opens_reasoning(text)
        return Prompt(disguise.take_off(text), opens_reasoning, disguise.segments(text))

    def parser(self, conversation: Conversation, prompt: Prompt) -> AnswerParser:
        """For one answer to the prompt."""
        answers = self._style(conversation).answers
        return answers.parser(conversation, prompt.opens_reasoning)

    def form(self, conversation: Conversation, prompt: Prompt) -> ConstraintSpec | None:
        """What an answer must look like so that the tool choice is kept; None when anything may
        come. Blocks for milliseconds per tool. Raises InvalidParam."""
        answers = self._style(conversation).answers
        return answers.form(conversation, prompt.opens_reasoning)

    def _style(self, conversation: Conversation) -> _Style:
        has_calls = any(turn.tool_calls for turn in conversation.messages)
        return self._with_tools if conversation.tools or has_calls else self._plain


class _Style:
    """One template, and what is known of it."""

    def __init__(self, template: ChatTemplate, vocab: Vocab) -> None:
        self._template = template
        self.capabilities = find_capabilities(template)
        self.answers = find_answer_format(find_samples(template, self.capabilities), vocab)

    def opens_reasoning(self, prompt: str) -> bool:
        """Whether the prompt ends where the model's thoughts begin."""
        opener = self.answers.reasoning_opener.rstrip()
        return bool(opener) and prompt.rstrip().endswith(opener)

    def given(self, conversation: Conversation) -> dict[str, Any]:
        """All that the template is told of the conversation, as plain JSON."""
        can = self.capabilities
        variables = dict(conversation.variables)
        if can.thinking_variable and "enable_thinking" in variables:
            variables.setdefault(can.thinking_variable, variables["enable_thinking"])
        return {
            "messages": make_turns(conversation, can),
            "tools": make_tools(conversation, can),
            "variables": variables,
        }

    def render(self, given: Mapping[str, Any], conversation: Conversation, now: datetime) -> str:
        """Raises TemplateFailed."""
        if conversation.continues_last and conversation.messages:
            return self._render_beginning(given, conversation.messages[-1], now)
        return self._render(given, given["messages"], now)

    def _render(
        self, given: Mapping[str, Any], turns: list[Any], now: datetime, opens_answer: bool = True
    ) -> str:
        return self._template.render(
            turns,
            now=now,
            tools=given["tools"],
            variables=given["variables"],
            add_generation_prompt=opens_answer,
        )

    def _render_beginning(self, given: Mapping[str, Any], last: ChatMessage, now: datetime) -> str:
        """The prompt ends inside the last turn, where its content does."""
        if last.role != "assistant" or last.tool_calls:
            raise TemplateFailed("only an assistant's turn without calls can be continued")
        *before, turn = given["messages"]
        marked = {**turn, "content": turn["content"] + _CUT}
        text, found, _ = self._render(given, [*before, marked], now, False).rpartition(_CUT)
        if found:
            return text
        # The template does not show the turn: then it is what the answer begins with.
        return self._render(given, before, now) + str(turn["content"])


def _checked(text: str) -> str:
    """Raises TemplateFailed for what is not Unicode text, and no tokenizer could read."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TemplateFailed(
            "it holds half of a surrogate pair, which is not a character"
        ) from None
    return text
