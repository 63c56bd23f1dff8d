"""How one model writes answers: what reads them, and what they must look like."""

from __future__ import annotations

from dataclasses import dataclass

from worker.chat.forms import calls_form
from worker.chat.messages import Conversation, ToolMode
from worker.chat.parsers.answer import MarkedParser, ReasoningMarks
from worker.chat.parsers.harmony import HarmonyCalls, HarmonyParser
from worker.chat.parsers.json_calls import JsonCalls
from worker.chat.parsers.named_calls import NamedCalls
from worker.chat.parsers.tagged_calls import TaggedCalls
from worker.chat.parts import AnswerParser, PlainParser
from worker.engine.constraint import ConstraintSpec
from worker.engine.runner import Vocab

Calls = JsonCalls | NamedCalls | TaggedCalls | HarmonyCalls


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """`calls` is the shape of tool calls, `reasoning` what stands around thoughts. `vocab` tells
    which texts are control tokens."""

    calls: Calls
    reasoning: ReasoningMarks | None
    vocab: Vocab

    @property
    def reasoning_opener(self) -> str:
        """A prompt that ends with it, and white space, has the answer begin inside thoughts; ""
        when there is none."""
        return "" if self.reasoning is None else self.reasoning.opener

    def parser(self, conversation: Conversation, opens_reasoning: bool) -> AnswerParser:
        """For one answer. Calls are only looked for where tools may be called."""
        may_call = conversation.tool_choice.mode is not ToolMode.NONE
        tools = conversation.tools if may_call else ()
        if isinstance(self.calls, HarmonyCalls):
            return HarmonyParser(tools, opens_reasoning=opens_reasoning)
        if not tools and self.reasoning is None:
            return PlainParser()
        calls = self.calls if tools else None
        return MarkedParser(self.reasoning, calls, tools, opens_reasoning=opens_reasoning)

    def form(
        self, conversation: Conversation, opens_reasoning: bool = False
    ) -> ConstraintSpec | None:
        """What the answer must look like so that the tool choice, and the schemas of strict tools,
        are kept; None when anything may come. Raises InvalidParam."""
        return calls_form(self.calls, self.reasoning, self.vocab, conversation, opens_reasoning)
