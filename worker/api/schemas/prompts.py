"""Texts, or their tokens, one or several: as completions and embeddings take them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

Tokens = tuple[int, ...]
Prompt = str | Tokens

_TOKENS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
        _TOKENS,
        {"type": "array", "items": _TOKENS, "minItems": 1},
    ]
}


def _read(value: Any) -> tuple[Prompt, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not value:
        raise ValueError("must be a text, a list of token ids, or a list of either")
    if all(isinstance(one, str) for one in value):
        return tuple(value)
    if all(_is_token(one) for one in value):
        return (tuple(value),)
    if all(isinstance(one, list) and one and all(map(_is_token, one)) for one in value):
        return tuple(tuple(one) for one in value)
    raise ValueError("must hold texts only, or token ids only, or lists of token ids only")


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


Prompts = Annotated[tuple[Prompt, ...], PlainValidator(_read), WithJsonSchema(_SCHEMA)]
