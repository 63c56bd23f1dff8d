"""Field types that more than one dialect uses."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator


def _listed(value: Any) -> Any:
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise ValueError("must be a string or a list of strings")
    return value


StopStrings = Annotated[
    list[str], BeforeValidator(_listed, json_schema_input_type=str | list[str] | None)
]
"""One stop string or several; how many and how long is the engine's to say."""


def _biases(value: Any) -> tuple[tuple[int, float], ...]:
    if value is None:
        return ()
    pairs = list(value.items()) if isinstance(value, dict) else value
    if not isinstance(pairs, list):
        raise ValueError("must be an object of token ids, or a list of [id, bias]")
    return tuple(_bias(pair) for pair in pairs)


def _bias(pair: Any) -> tuple[int, float]:
    if not (isinstance(pair, list | tuple) and len(pair) == 2):
        raise ValueError("must hold pairs of a token id and a bias")
    token, bias = pair
    if isinstance(token, str) and token.isascii() and token.isdecimal() and len(token) < 10:
        token = int(token)
    if not isinstance(token, int) or isinstance(token, bool):
        raise ValueError("names tokens by their ids only")
    if bias is False:
        return token, -math.inf
    if not isinstance(bias, int | float) or isinstance(bias, bool):
        raise ValueError("must give each token a number, or false to ban it")
    return token, float(bias)


LogitBias = Annotated[
    tuple[tuple[int, float], ...],
    PlainValidator(_biases, json_schema_input_type=dict[str, Any] | list[list[Any]] | None),
]
"""OpenAI's {"id": bias}, or llama-server's [[id, bias], …] with false for a ban."""

Priority = Annotated[int, Field(ge=-(1 << 31), le=1 << 31)]
"""Of the requests that wait, the higher goes first."""
