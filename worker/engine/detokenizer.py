"""Token bytes in, whole characters out."""

from __future__ import annotations

from codecs import getincrementaldecoder

_Utf8Decoder = getincrementaldecoder("utf-8")


class Detokenizer:
    """Turns one sequence's bytes into text, however they are split, without half a character.

    A byte that can never become part of a character is U+FFFD as soon as that is certain; the
    start of a character waits for its rest, and is U+FFFD only if the end comes first.
    """

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = _Utf8Decoder("replace")

    def push(self, raw: bytes) -> str:
        """The characters completed by these bytes."""
        return self._decoder.decode(raw)

    def flush(self) -> str:
        """The end: what is still incomplete never will be complete."""
        return self._decoder.decode(b"", final=True)
