"""Is the answer right? Pure questions about a text."""

from __future__ import annotations

import json
import re
from typing import Any

from llorch_ctl.matrix.spec import Case

_MISSING = object()


def find_fault(case: Case, text: str) -> str | None:
    """What is wrong with the answer, in one line; None when nothing is."""
    for fault in (
        _empty(text),
        _contains(case, text),
        _equals(case, text),
        _regex(case, text),
        _json(case, text),
    ):
        if fault:
            return f"{fault}, got {quote(text)}" if text.strip() else fault
    return None


def quote(text: str, limit: int = 60) -> str:
    """A text as one short quoted line."""
    text = text.strip()
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    return json.dumps(shown, ensure_ascii=False)


def _empty(text: str) -> str | None:
    return None if text.strip() else "the answer is empty"


def _contains(case: Case, text: str) -> str | None:
    missing = [part for part in case.contains if part not in text]
    return f"expected {quote(missing[0])} in it" if missing else None


def _equals(case: Case, text: str) -> str | None:
    if case.equals is None or case.equals.strip() == text.strip():
        return None
    return f"expected {quote(case.equals)}"


def _regex(case: Case, text: str) -> str | None:
    if case.regex is None or re.search(case.regex, text.strip()):
        return None
    return f"expected a match of /{case.regex}/"


def _json(case: Case, text: str) -> str | None:
    if case.members is None or case.members is False:
        return None
    value = first_json(text)
    if value is _MISSING:
        return "expected JSON"
    if case.members is True:
        return None
    if not isinstance(value, dict):
        return "expected a JSON object"
    for name in case.members:
        if name not in value:
            return f"expected the JSON member {quote(name)}"
        if isinstance(case.members, dict) and value[name] != case.members[name]:
            return f"expected {quote(name)} to be {json.dumps(case.members[name])}"
    return None


def first_json(text: str) -> Any:
    """The first JSON object or array in a text: models like to wrap it in words and fences."""
    decoder = json.JSONDecoder()
    for start in re.finditer(r"[{\[]", text):
        try:
            value, _ = decoder.raw_decode(text, start.start())
        except ValueError:
            continue
        return value
    return _MISSING
