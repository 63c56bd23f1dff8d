"""What is refused of a JSON text before anybody reads it.

Parsers differ in what they make of a key that comes twice, of NaN and of 1e999, and what one of
them lets in another cannot write again.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_VALUES = 300_000
MAX_DEPTH = 100
_INTEGERS = range(-(2**63), 2**64)
_MAX_DIGITS = 400  # more than any number that a float can hold
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_NO_BRACKET = re.compile(r"[^][{}]+")


class BadJson(ValueError):
    """Not JSON, or none that everybody reads alike; the message is for the client. `field` is the
    key whose value it is about, if it is about one."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class _BadNumber(ValueError):
    pass


def check_json(raw: bytes) -> None:
    """Raises BadJson. Takes about as long as parsing: keep megabytes off the event loop."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise BadJson(f"the body is not UTF-8: byte {error.start}") from None
    if _may_be_too_much(raw):
        _check_shape(_STRING.sub("", text))
    try:
        json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise BadJson(f"the body is not JSON: {error.msg} at {where}") from None
    except _BadNumber as error:
        digits, what = error.args
        key = re.search(rf'"(\w{{1,64}})"\s*:\s*{re.escape(digits)}', text)
        field = None if key is None else key[1]
        raise BadJson(f"{field or 'the body'} holds {what}", field) from None


def _may_be_too_much(raw: bytes) -> bool:
    """Counts what is within strings too, so that most bodies are let through by a quick search."""
    opened = raw.count(b"[") + raw.count(b"{")
    return opened > MAX_DEPTH or opened + raw.count(b",") > MAX_VALUES


def _check_shape(text: str) -> None:
    """Depth and number of values of a JSON text without its strings."""
    if text.count("[") + text.count("{") + text.count(",") > MAX_VALUES:
        raise BadJson(f"the body holds more than {MAX_VALUES} values")
    depth = 0
    for bracket in _NO_BRACKET.sub("", text):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise BadJson(f"the body is nested more than {MAX_DEPTH} deep")


def _unique(pairs: list[tuple[str, Any]]) -> None:
    """Nothing of what was read is kept: the question is only whether it may be."""
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise BadJson(f"the body has the key {json.dumps(key[:80])} twice in one object")
        seen.add(key)


def _refuse_constant(name: str) -> None:
    raise _BadNumber(name, f"{name}, which is not JSON")


def _finite(digits: str) -> None:
    if not math.isfinite(float(digits)):
        raise _BadNumber(digits, "a number that is too large")


def _bounded(digits: str) -> None:
    if len(digits) > _MAX_DIGITS or int(digits) not in _INTEGERS:
        raise _BadNumber(digits, "an integer of more than 64 bits")
