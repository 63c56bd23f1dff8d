"""JSON as this worker writes it: compact, UTF-8, and one line to every client."""

from __future__ import annotations

from typing import Any

import orjson

# Line ends to str.splitlines, with which some clients split a stream: NEL, LS and PS.
_LINE_ENDS = (
    (b"\xc2\x85", b"\\u0085"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)


def to_json(value: Any) -> bytes:
    """Readable in any language. Dictionaries keep their order; keys are strings."""
    encoded = orjson.dumps(value)
    return encoded if encoded.isascii() else _without_line_ends(encoded)


def json_logprob(value: float) -> float:
    """JSON has no infinity; OpenAI's stand-in for "as good as impossible" is -9999."""
    return value if value > -9999.0 else -9999.0


def _without_line_ends(encoded: bytes) -> bytes:
    for raw, escaped in _LINE_ENDS:
        encoded = encoded.replace(raw, escaped)
    return encoded
