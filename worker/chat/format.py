"""How one model wants to be talked to, and how it answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from worker.chat.messages import Conversation
from worker.chat.parts import AnswerParser, PlainParser
from worker.chat.template import ChatTemplate
from worker.engine.constraint import ConstraintSpec


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation in the model's own words. `opens_reasoning`: the answer begins inside the
    model's thoughts."""

    text: str
    opens_reasoning: bool = False


class ChatFormat:
    """A model's chat template, and the marks it sets around calls and thoughts."""

    def __init__(self, template: ChatTemplate) -> None:
        self._template = template

    def render(self, conversation: Conversation, now: datetime) -> Prompt:
        """The prompt, up to where the answer begins. Blocks: call it off the event loop.

        Raises TemplateFailed.
        """
        text = self._template.render(
            conversation.messages, now=now, variables=conversation.variables
        )
        return Prompt(text)

    def parser(self, conversation: Conversation, prompt: Prompt) -> AnswerParser:
        """For one answer to the prompt."""
        return PlainParser()

    def form(self, conversation: Conversation) -> ConstraintSpec | None:
        """What an answer must look like so that the tool choice is kept; None when anything may
        come. Raises InvalidParam."""
        return None
