"""Signatures of thinking blocks, which carry the thoughts that a client did not want to see.

They come back with the conversation: in the midst of calling tools a model has to know what it
thought, and its prompt must begin as the one before did.
"""

from __future__ import annotations

import base64
import binascii

_MARK = "llorch"


def sign(hidden: str = "") -> str:
    """Never empty, since clients drop blocks without a signature."""
    if not hidden:
        return _MARK
    return f"{_MARK}:{base64.b64encode(hidden.encode()).decode()}"


def read_signature(signature: str | None) -> str:
    """The thoughts in it; "" if there are none, or it is another server's."""
    mark, _, text = (signature or "").partition(":")
    if mark != _MARK:
        return ""
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
