"""JSON out of a text that is still being written, passed on as soon as it is certain."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from worker.chat.parsers.source import Source, Steps

Sink = Callable[[str], None]

MAX_DEPTH = 200

_RUN = re.compile(r'[^"\\\x00-\x1f]+')
_SCALAR = re.compile(r"[-+.0-9A-Za-z_]+")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_HEX4 = re.compile(r"[0-9a-fA-F]{4}")
_LITERALS = {
    "true": "true",
    "false": "false",
    "null": "null",
    # Python's spellings, which small models fall into.
    "True": "true",
    "False": "false",
    "None": "null",
}
_MAX_SCALAR = 400


def read_value(source: Source, sink: Sink) -> Steps[str | None]:
    """Read the value that begins at the cursor, and pass on its text; None when it was whole.

    What is passed on is valid JSON: line feeds and wrong escapes within strings are escaped,
    Python's literals and a comma too many are put right. Where it cannot go on, what is open is
    closed, the cursor stays there, and what was read but not passed on is the answer. At the end
    of the text nothing is closed: what was passed on remains the beginning of a value.
    """
    return (yield from _Reader(source, sink).read())


def read_string(source: Source, sink: Sink) -> Steps[bool]:
    """Read the rest of a string, after its first quote, and its last quote. Its text is passed on
    as it must stand between quotes, without the quotes. False when the end comes before."""
    while True:
        run = _RUN.match(source.text, source.at)
        if run is not None:
            source.at = run.end()
            sink(run.group())
        char = yield from source.peek()
        if char == "":
            return False
        if char == '"':
            source.at += 1
            return True
        if char == "\\":
            if not (yield from _escape(source, sink)):
                return False
        elif char < " ":
            source.at += 1
            sink(json.dumps(char)[1:-1])


def _escape(source: Source, sink: Sink) -> Steps[bool]:
    r"""An escape of two characters, or of six, or of twelve for a pair of surrogates."""
    char = yield from _at(source, 1)
    if char == "":
        return False
    if char != "u":
        source.at += 2
        sink("\\" + char if char in '"\\/bfnrt' else char if char == "'" else _bare(char))
        return True
    unit = yield from _unit(source, 0)
    if unit is None:
        if source.is_ended and len(source.text) - source.at < 6:
            return False
        source.at += 2
        sink("\\\\u")
        return True
    low = (yield from _unit(source, 6)) if 0xD800 <= unit < 0xDC00 else None
    if low is not None and 0xDC00 <= low < 0xE000:
        sink(source.text[source.at : source.at + 12])
        source.at += 12
        return True
    # Half a character cannot be sent to anybody.
    sink("\ufffd" if 0xD800 <= unit < 0xE000 else source.text[source.at : source.at + 6])
    source.at += 6
    return True


def _bare(char: str) -> str:
    """A backslash that escapes nothing, and what is behind it."""
    return "\\\\" + json.dumps(char, ensure_ascii=False)[1:-1]


def _unit(source: Source, offset: int) -> Steps[int | None]:
    r"""The code unit of the \uXXXX at the cursor plus `offset`, if there is one."""
    for index in range(6):
        char = yield from _at(source, offset + index)
        wanted = "\\u"[index] if index < 2 else None
        if char == "" or (char != wanted if wanted else not _HEX4.match(char * 4)):
            return None
    start = source.at + offset + 2
    return int(source.text[start : start + 4], 16)


def _at(source: Source, offset: int) -> Steps[str]:
    while source.at + offset >= len(source.text):
        if not (yield from source.more()):
            return ""
    return source.text[source.at + offset]


class _Reader:
    """`held` is what cannot be passed on before the value behind it is seen to begin: white
    space, commas, keys."""

    def __init__(self, source: Source, sink: Sink) -> None:
        self._source = source
        self._sink = sink
        self._open: list[str] = []  # the closing brackets that are due
        self._held = ""
        self._is_fresh = False  # nothing is in the innermost bracket yet

    def read(self) -> Steps[str | None]:
        is_well = yield from self._value()
        while is_well and self._open:
            is_well = yield from self._entry()
        if is_well:
            return None
        if self._open and (yield from self._source.peek()) != "":
            self._sink("".join(reversed(self._open)))
        return self._held

    def _entry(self) -> Steps[bool]:
        """What follows an opening bracket or a value: one more entry, or the closing bracket."""
        source = self._source
        space = yield from source.skip_space()
        comma = ""
        if not self._is_fresh and (yield from source.literal(",")):
            comma = space + ","
            space = yield from source.skip_space()
        if (yield from source.literal(self._open[-1])):
            self._sink(space + self._open.pop())
            self._is_fresh = False
            return True
        self._held = comma + space
        if not comma and not self._is_fresh:
            return False
        self._is_fresh = False
        if self._open[-1] == "}" and not (yield from self._key()):
            return False
        return (yield from self._value())

    def _key(self) -> Steps[bool]:
        source = self._source
        if not (yield from source.literal('"')):
            return False
        key: list[str] = ['"']
        is_whole = yield from read_string(source, key.append)
        self._held += "".join(key) + '"' * is_whole + (yield from source.skip_space())
        if not is_whole or not (yield from source.literal(":")):
            return False
        self._held += ":"
        return True

    def _value(self) -> Steps[bool]:
        source = self._source
        self._held += yield from source.skip_space()
        char = yield from source.peek()
        if char == '"':
            source.at += 1
            self._pass('"')
            is_whole = yield from read_string(source, self._sink)
            if is_whole:
                self._sink('"')
            return is_whole
        if char in ("{", "[") and len(self._open) < MAX_DEPTH:
            source.at += 1
            self._open.append("}" if char == "{" else "]")
            self._is_fresh = True
            self._pass(char)
            return True
        return (yield from self._scalar())

    def _scalar(self) -> Steps[bool]:
        """A number or a literal; it is whole only when something follows."""
        source = self._source
        size = 0
        while True:
            match = _SCALAR.match(source.text, source.at + size)
            size = match.end() - source.at if match else size
            if source.at + size < len(source.text) or size > _MAX_SCALAR:
                break
            if not (yield from source.more()):
                return False
        text = source.text[source.at : source.at + size]
        text = _LITERALS.get(text, text if _NUMBER.fullmatch(text) else "")
        if not text or size > _MAX_SCALAR:
            return False
        source.at += size
        self._pass(text)
        return True

    def _pass(self, text: str) -> None:
        self._sink(self._held + text)
        self._held = ""
