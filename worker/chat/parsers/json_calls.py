"""Calls that are JSON objects with the tool's name in them: in tags, in arrays, or bare."""

from __future__ import annotations

import json
from dataclasses import dataclass

from worker.chat.parsers.calls import MAX_NAME, CallWriter
from worker.chat.parsers.json_reader import read_string, read_value
from worker.chat.parsers.source import Source, Steps

_NAMES = frozenset({"name", "tool_name", "function"})
_ARGUMENTS = frozenset({"arguments", "parameters", "args"})
_OTHERS = frozenset({"id", "type", "call_id", "tool_call_id", "index"})


@dataclass(frozen=True, slots=True)
class JsonCalls:
    """Implements CallReader.

    `is_bare`: calls need no opener. `name_key` and `arguments_key` are how the template spells
    them; other usual spellings are read too. Without a `name_key` the tool's name is itself the
    key of the arguments. `is_array`: the template writes an array of calls. Inside the tags there
    is the template's `inner_space`; any is read.
    """

    openers: tuple[str, ...]
    closer: str = ""
    name_key: str = "name"
    arguments_key: str = "arguments"
    is_array: bool = False
    inner_space: str = ""
    is_bare: bool = False

    def read(self, source: Source, writer: CallWriter) -> Steps[None]:
        has_call = is_inside_array = False
        while True:
            yield from source.skip_space()
            char = yield from source.peek()
            if char == "{":
                call = _Call(source, writer, named_by_key=not self.name_key)
                if not (yield from call.read()):
                    return
                has_call = True
            elif char == ("]" if is_inside_array else "["):
                source.at += 1
                is_inside_array = not is_inside_array
            elif char in (",", ";") and has_call:
                source.at += 1
            else:
                break
            if has_call:
                source.mark()
        if has_call and self.closer and (yield from source.closing(self.closer)):
            source.mark()


class _Call:
    """One object. `_name` is that of a tool there is."""

    def __init__(self, source: Source, writer: CallWriter, *, named_by_key: bool) -> None:
        self._source = source
        self._writer = writer
        self._named_by_key = named_by_key
        self._name: str | None = None
        self._early: str | None = None  # arguments that came before the name
        self._is_done = False
        self._depth = 0
        self._is_first = True

    def read(self) -> Steps[bool]:
        """Whether it was a call; then the cursor is behind what can be read of it."""
        source = self._source
        source.at += 1
        self._depth = 1
        while self._depth:
            if self._is_done:
                source.mark()
            yield from source.skip_space()
            if (yield from source.literal("}")):
                self._depth -= 1
            elif not (yield from self._entry()):
                if self._is_done:
                    source.rewind()
                return self._is_done
        if not self._is_done and self._name is not None:
            self._write(self._early or "{}")
        return self._is_done

    def _entry(self) -> Steps[bool]:
        source = self._source
        if not self._is_first:
            if not (yield from source.literal(",")):
                return False
            yield from source.skip_space()
        self._is_first = False
        key = yield from self._string()
        yield from source.skip_space()
        if key is None or not (yield from source.literal(":")):
            return False
        yield from source.skip_space()
        if self._named_by_key and self._name is None:
            self._name = self._writer.known(key)
            return self._name is not None and (yield from self._arguments())
        if self._is_done or key in _OTHERS:
            return (yield from read_value(source, _drop)) is None
        if key == "function" and (yield from source.literal("{")):
            self._depth += 1
            self._is_first = True
            return True
        if key in _NAMES and self._name is None:
            name = yield from self._string()
            self._name = None if name is None else self._writer.known(name)
            return self._name is not None
        return key in _ARGUMENTS and self._early is None and (yield from self._arguments())

    def _arguments(self) -> Steps[bool]:
        """An object; or the text of one as a string, as OpenAI's API has it; or nothing."""
        source = self._source
        char = yield from source.peek()
        if char == "{" and self._name is not None:
            self._writer.start(self._name)
            rest = yield from read_value(source, self._writer.arguments)
            self._writer.end()
            self._is_done = True
            if rest and (yield from source.peek()) != "":
                self._writer.text(rest)
            return rest is None
        texts: list[str] = []
        if char not in ("{", '"', "n") or (yield from read_value(source, texts.append)) is not None:
            return False
        text = "".join(texts)
        if char == '"':
            text = json.loads(text) or "{}"
        elif char == "n":
            text = "{}"
        if not is_object(text):
            return False
        if self._name is None:
            self._early = text
        else:
            self._write(text)
        return True

    def _write(self, arguments: str) -> None:
        assert self._name is not None, "calls are written when their tool is known"
        self._writer.start(self._name)
        self._writer.arguments(arguments)
        self._writer.end()
        self._is_done = True

    def _string(self) -> Steps[str | None]:
        """A short string; None when there is none."""
        source = self._source
        if not (yield from source.literal('"')):
            return None
        texts: list[str] = []
        if not (yield from read_string(source, texts.append)):
            return None
        value: str = json.loads('"' + "".join(texts) + '"')
        return value if len(value) <= MAX_NAME else None


def is_object(text: str) -> bool:
    """Whether it is the text of a JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _drop(_text: str) -> None:
    """For values that say nothing about the call."""
