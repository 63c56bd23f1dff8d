"""What a chat template made of conversations whose words are known: how a model answers is read
off them."""

from __future__ import annotations

from dataclasses import dataclass

QUESTION = "sentinel_question"
ANSWER = "sentinel_answer"
THOUGHT = "sentinel_thought"
TOOL = "sentinel_tool"
KEY = "sentinel_key"
VALUE = "sentinel_value"


@dataclass(frozen=True, slots=True)
class Samples:
    """`source` is the template itself; the others are renders without a generation prompt, None
    where the template cannot.

    `plain`: the user asks QUESTION, the assistant answers ANSWER; no tools. `with_call`: with the
    tool TOOL, whose only parameter KEY is a string, the assistant calls it with VALUE; what it
    says besides is empty, and a tool's result may follow. `with_two_calls`: the same call twice in
    one turn. `with_reasoning`: an assistant's turn that was preceded by THOUGHT. `prompt_end` is
    what a generation prompt appends.
    """

    source: str
    plain: str
    with_call: str | None
    with_two_calls: str | None
    with_reasoning: str | None
    prompt_end: str
