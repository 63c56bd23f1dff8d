"""The names and ids that tie a tool's turn to the call it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from worker.chat.capabilities import CallIds
from worker.chat.messages import ChatMessage

_SHORT = 9


class CallNames:
    """Goes through one conversation, from its beginning."""

    def __init__(self, ids: CallIds = CallIds.ANY) -> None:
        self._ids = ids
        self._names: dict[str, str] = {}
        self._new_ids: dict[str, str] = {}

    def filled_in(self, turns: Sequence[ChatMessage]) -> list[ChatMessage]:
        """Tools' turns with the names of their tools, which not every dialect sends."""
        kept = []
        for turn in turns:
            self._names |= {call.id: call.name for call in turn.tool_calls}
            if turn.role == "tool" and not turn.name:
                turn = replace(turn, name=self._names.get(turn.tool_call_id, ""))
            kept.append(turn)
        return kept

    def renamed(self, turns: Sequence[ChatMessage]) -> list[ChatMessage]:
        """With ids as the template wants them."""
        if self._ids is CallIds.ANY:
            return list(turns)
        kept = []
        for turn in turns:
            calls = tuple(replace(c, id=self._new_id(c.id, c.name)) for c in turn.tool_calls)
            answered = turn.tool_call_id
            if turn.role == "tool":
                answered = self._new_ids.get(answered) or self._new_id(answered, turn.name)
            kept.append(replace(turn, tool_calls=calls, tool_call_id=answered))
        return kept

    def _new_id(self, old: str, name: str) -> str:
        if self._ids is CallIds.NAMED:
            new = f"functions.{name}:{len(self._new_ids)}"
        elif len(old) == _SHORT and old.isascii() and old.isalnum():
            new = old
        else:
            new = sha256(old.encode("utf-8", "replace")).hexdigest()[:_SHORT]
        self._new_ids[old] = new
        return new
