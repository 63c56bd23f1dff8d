"""A conversation as every chat template understands it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One turn: `role` is system, user or assistant; `content` is plain text."""

    role: str
    content: str
