"""What a chat template can render, and in which words it must be told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Arguments(StrEnum):
    """How a template wants the arguments of a call."""

    OBJECT = "object"
    TEXT = "text"  # of a JSON object


class CallIds(StrEnum):
    """What a template does with the id of a call."""

    ANY = "any"
    SHORT = "short"  # refuses what is not 9 letters and digits
    NAMED = "named"  # writes it in place of the name: `functions.NAME:0`


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Found by rendering (`probe`). What a template cannot, `turns` says in another way.

    - `system`: at the beginning, however the conversation goes on; `mid_system`: anywhere, where it
      stands.
    - `same_role`: two turns of one role after each other.
    - `tools`, `calls`, `results`: definitions of tools, calls in the assistant's turns, and tool
      turns; `many_calls`: more than one call in a turn.
    - `text_with_calls`: what the assistant says beside its calls.
    - `user_after_result`: a user's turn may follow a tool's.
    - `null_content`: a turn that only calls has the content null, not "".
    - `reasoning_key`: the key of an assistant turn whose thoughts are shown, "" if none is;
      `reasoning_with_text`: a turn may have thoughts, content and calls.
    - `thinking_variable`: the variable that switches thinking on and off, "" if none does;
      `reasoning_effort`: whether that variable makes a difference.
    """

    system: bool = True
    mid_system: bool = True
    same_role: bool = True
    tools: bool = False
    calls: bool = False
    many_calls: bool = False
    results: bool = False
    text_with_calls: bool = True
    user_after_result: bool = True
    arguments: Arguments = Arguments.OBJECT
    call_ids: CallIds = CallIds.ANY
    null_content: bool = False
    reasoning_key: str = ""
    reasoning_with_text: bool = True
    thinking_variable: str = ""
    reasoning_effort: bool = False
