"""Pieces of llguidance's grammars, for texts that a model spells with control tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from llguidance import LLMatcher

from worker.engine.constraint import JSON_WHITESPACE
from worker.engine.runner import Vocab

# Else, where only one text can follow, only one way to cut it into tokens would be allowed, and
# not always the one that the model is used to.
_ANY_TOKENS = '%llguidance {"no_forcing": true}'

ANY = "ANY"
"""The name of what matches any text; control tokens are no text."""


SPACE = r"/[ \n]{0,4}/"


class LarkWriter:
    """Collects a grammar's rules. What its methods return stands for itself in a rule."""

    def __init__(self, vocab: Vocab) -> None:
        self._vocab = vocab
        self._rules: list[str] = [f"{ANY}: /(?s:.*)/"]
        self._known: dict[str, str] = {}

    def text(self, start: str) -> str:
        """The whole grammar, for answers of the form `start`."""
        return "\n".join([_ANY_TOKENS, f"start: {start}", *self._rules])

    def literal(self, text: str) -> str:
        """Exactly this text, as the model's tokenizer reads it. What ends an answer is left out,
        and all that is behind it: the form's own end allows it."""
        pieces: list[str] = []
        plain = b""
        for token in self._tokens(text):
            raw = self._vocab.token_bytes(token)
            if raw:
                plain += raw
                continue
            if plain:
                pieces.append(_quoted(plain.decode(errors="replace")))
                plain = b""
            if self._vocab.is_eog(token):
                break
            pieces.append(f"<[{token}]>")
        if plain:
            pieces.append(_quoted(plain.decode(errors="replace")))
        return " ".join(pieces)

    def spaced(self, text: str) -> str:
        """This text, perhaps with white space before it: as one lexeme, if no control token is in
        it, so that it can be told from other texts that begin alike."""
        if self.has_control_tokens(text):
            return f"{SPACE} {self.literal(text.strip())}"
        name = f"L{len(self._rules)}"
        self._rules.append(f"{name}: {SPACE} {self.literal(text.lstrip())}")
        return name

    def has_control_tokens(self, text: str) -> bool:
        return any(not self._vocab.token_bytes(token) for token in self._tokens(text))

    def up_to(self, end: str) -> str:
        """Any text, and its end, which is not within it."""
        if self.has_control_tokens(end):
            return f"{ANY} {self.literal(end.strip())}"
        return self.rule(f"/(?s:.*){pattern_of(end)}/", lazy=True)

    def without(self, pattern: str) -> str:
        """Any text but what the pattern matches the beginning of."""
        name = f"T{len(self._rules)}"
        self._rules.append(f"{name}: /(?s:.*)/ & ~/{pattern}(?s:.*)/")
        return name

    def json(self, schema: Mapping[str, Any], *, is_lenient: bool) -> str:
        """A value of JSON that keeps to the schema; `is_lenient` skips words that are unknown."""
        options = {"whitespace_pattern": JSON_WHITESPACE, "lenient": is_lenient}
        return self.rule("%json " + json.dumps({**schema, "x-guidance": options}))

    def rule(self, body: str, *, lazy: bool = False) -> str:
        if body not in self._known:
            name = self._known[body] = f"r{len(self._rules)}"
            self._rules.append(f"{name}{'[lazy]' * lazy}: {body}")
        return self._known[body]

    def _tokens(self, text: str) -> list[int]:
        """Those of the text, where it stands among other text."""
        marked = self._vocab.tokenize("\n" + text, add_special=False, parse_special=True)
        lead = b""
        for index, token in enumerate(marked):
            lead += self._vocab.token_bytes(token)
            if lead.strip(b" ") == b"\n":
                return marked[index + 1 :]
        return self._vocab.tokenize(text, add_special=False, parse_special=True)


def refusal(schema: Mapping[str, Any], *, is_lenient: bool) -> str:
    """Why no form can be made of the schema; "" when one can."""
    try:
        grammar = LLMatcher.grammar_from_json_schema(
            json.dumps(schema), overrides={"lenient": is_lenient}
        )
        error = LLMatcher.validate_grammar(grammar)
    except ValueError as refused:
        error = str(refused)
    return " ".join(error.partition("\n<state>")[0].split())[:300]


def one_of(choices: list[str]) -> str:
    return "(" + " | ".join(choices) + ")"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def pattern_of(text: str) -> str:
    """The text within a regular expression between slashes."""
    return re.escape(text).replace("/", r"\/").replace("\\\n", r"\n").replace("\\ ", " ")
