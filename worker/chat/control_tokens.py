"""Control tokens that somebody spells in a conversation, and must not act."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

Trie = dict[str, "Trie"]
_END = ""


class Segment(NamedTuple):
    """A piece of a prompt. In a plain one nothing is a control token, whatever it spells."""

    text: str
    is_plain: bool


class ControlTokens:
    """The control tokens of one vocabulary, by their spelling."""

    def __init__(self, spellings: Iterable[str]) -> None:
        trie: Trie = {}
        for spelling in spellings:
            node = trie
            for character in spelling:
                node = node.setdefault(character, {})
            if spelling:
                node[_END] = {}
        # One path for common beginnings: as many as a vocabulary has cost no more than one.
        self.pattern = re.compile(_as_pattern(trie)) if trie else None

    def are_in(self, value: Any) -> bool:
        """Whether any text of plain JSON spells one."""
        if self.pattern is None:
            return False
        if isinstance(value, str):
            return self.pattern.search(value) is not None
        if isinstance(value, Mapping):
            return any(self.are_in(key) or self.are_in(item) for key, item in value.items())
        if isinstance(value, list | tuple):
            return any(map(self.are_in, value))
        return False


class Disguise:
    """Stand-ins for control tokens that are spelled in a conversation, while it is rendered: what
    the template itself writes can then be told from what it was given.

    A stand-in is letters and digits, which no template changes, and nobody could have written it.
    """

    def __init__(self, tokens: ControlTokens) -> None:
        assert tokens.pattern is not None
        self._tokens = tokens.pattern
        self._mark = f"q{secrets.token_hex(6)}n"
        self._stand_ins = re.compile(f"{self._mark}([0-9]+)z")
        self._either = re.compile(f"{self._stand_ins.pattern}|{self._tokens.pattern}")
        self._numbers: dict[str, int] = {}
        self._spellings: list[str] = []

    def put_on(self, value: Any) -> Any:
        """Plain JSON with stand-ins."""
        if isinstance(value, str):
            return self._tokens.sub(self._hide, value)
        if isinstance(value, Mapping):
            return {self.put_on(key): self.put_on(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.put_on(item) for item in value]
        return value

    def take_off(self, text: str) -> str:
        """The text as it would be without."""
        return self._stand_ins.sub(self._shown, text)

    def segments(self, text: str) -> tuple[Segment, ...]:
        """The rendered text, without stand-ins, cut at control tokens that the template wrote:
        plain is what lies between two of them and has spelled ones in it."""
        kept: list[Segment] = []
        run, start, has_spelled = 0, 0, False
        for found in [*self._either.finditer(text), None]:
            if found is not None and found[1] is not None:
                has_spelled = True
                continue
            end = len(text) if found is None else found.start()
            if has_spelled:
                if run < start:
                    kept.append(Segment(text[run:start], False))
                kept.append(Segment(self.take_off(text[start:end]), True))
                run = end
            if found is not None:
                start, has_spelled = found.end(), False
        if run < len(text):
            kept.append(Segment(text[run:], False))
        return tuple(kept)

    def _hide(self, found: re.Match[str]) -> str:
        number = self._numbers.setdefault(found[0], len(self._numbers))
        if number == len(self._spellings):
            self._spellings.append(found[0])
        return f"{self._mark}{number}z"

    def _shown(self, found: re.Match[str]) -> str:
        return self._spellings[int(found[1])]


def _as_pattern(node: Trie) -> str:
    """A regular expression of all ways through the trie, the longest first."""
    branches = [re.escape(key) + _as_pattern(child) for key, child in node.items() if key != _END]
    if not branches:
        return ""
    joined = branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
    return f"(?:{joined})?" if _END in node else joined
