"""Calls whose arguments are written one by one between tags, as bare text."""

from __future__ import annotations

import json
from dataclasses import dataclass

from worker.chat.parsers.calls import MAX_NAME, CallWriter
from worker.chat.parsers.json_reader import Sink
from worker.chat.parsers.source import Source, Steps, markers
from worker.chat.parsers.typed_value import as_json, types_of

_MAX_KEY = 1024


@dataclass(frozen=True, slots=True)
class TaggedCalls:
    """Implements CallReader. A call is

        opener NAME name_end (key_opener KEY key_end VALUE value_closer)* closer

    and calls stand between `section_opener` and `section_closer`, where there are such. All are
    the template's texts with their white space. Space that is around tags may be missing in an
    answer; within `key_end` and `value_closer` one line feed belongs to the tag, not the value.
    `string_flag` within `key_end` tells strings from other values.
    """

    opener: str
    name_end: str
    key_opener: str
    key_end: str
    value_closer: str
    closer: str
    section_opener: str = ""
    section_closer: str = ""

    @property
    def is_bare(self) -> bool:
        return False

    @property
    def openers(self) -> tuple[str, ...]:
        lines = _lines(self.section_opener)[:1] + _lines(self.opener)
        # Some models leave out the outer tag, none the one that the name is in.
        return tuple(dict.fromkeys(lines))

    def read(self, source: Source, writer: CallWriter) -> Steps[None]:
        opening = _lines(self.section_opener) + _lines(self.opener)
        has_call = True
        while has_call:
            for line in opening:
                yield from source.spaced_literal(line)
            has_call = yield from self._call(source, writer)
            opening = _lines(self.opener)
            if not has_call or not (yield from source.spaced_literal(opening[0])):
                break
        if has_call:
            for line in _lines(self.section_closer):
                if (yield from source.spaced_literal(line)):
                    source.mark()

    def _call(self, source: Source, writer: CallWriter) -> Steps[bool]:
        name = yield from self._name(source, writer)
        if name is None:
            return False
        count = 0
        while (yield from self._opens_argument(source, is_marked=count == 0)):
            key = yield from self._key(source)
            if key is None and count == 0:
                return False
            if key is None:
                self._break(source, writer)
                return True
            source.forget()
            if count == 0:
                writer.start(name)
            writer.arguments("{" if count == 0 else ", ")
            writer.arguments(json.dumps(key[0], ensure_ascii=False) + ": ")
            count += 1
            if not (yield from self._value(source, writer, name, *key)):
                writer.end()
                return True
        closers = _lines(self.closer)
        is_closed = yield from source.spaced_literal(closers[0])
        if count == 0:
            if not is_closed:
                return False
            writer.start(name)
            writer.arguments("{")
        if is_closed or (yield from source.peek()) != "":
            writer.arguments("}")
        for line in closers[1:]:
            yield from source.spaced_literal(line)
        writer.end()
        return True

    def _opens_argument(self, source: Source, *, is_marked: bool) -> Steps[bool]:
        if not is_marked:
            source.mark()
        return (yield from source.spaced_literal(self.key_opener.strip()))

    def _break(self, source: Source, writer: CallWriter) -> None:
        """What follows the last argument is none."""
        text = source.forget()
        if source.at < len(source.text):
            writer.arguments("}")
        writer.end()
        writer.text(text)

    def _name(self, source: Source, writer: CallWriter) -> Steps[str | None]:
        end = self.name_end.strip()
        yield from source.skip_space()
        stops = (end[0],) if end else ("<", "\n")
        found = yield from source.until(stops, MAX_NAME)
        name = None if found is None else writer.known(found)
        if name is None or not end or (yield from source.literal(end)):
            return name
        return None

    def _key(self, source: Source) -> Steps[tuple[str, bool] | None]:
        """The key, and whether it is said that its value is not a string."""
        first, *others = _lines(self.key_end)
        key = yield from source.until((first[0],), _MAX_KEY)
        if key is None:
            return None
        flagged = first.replace('string="true"', 'string="false"')
        is_other = flagged != first and (yield from source.literal(flagged))
        if not is_other and not (yield from source.literal(first)):
            return None
        for line in others:
            if not (yield from source.spaced_literal(line)):
                return None
        return key.strip(), is_other

    def _value(
        self, source: Source, writer: CallWriter, name: str, key: str, is_other: bool
    ) -> Steps[bool]:
        types = types_of(writer.schema(name), key) - ({"string"} if is_other else set())
        is_flagged = 'string="true"' in self.key_end and not is_other
        if self.key_end.endswith("\n"):
            yield from source.literal("\n")
        if types == {"string"} or is_flagged:
            writer.arguments('"')
            is_whole = yield from self._text(source, lambda text: writer.arguments(_escaped(text)))
            if is_whole:
                writer.arguments('"')
            return is_whole
        texts: list[str] = []
        is_whole = yield from self._text(source, texts.append)
        if is_whole:
            writer.arguments(as_json("".join(texts), types))
        return is_whole

    def _text(self, source: Source, sink: Sink) -> Steps[bool]:
        """Read a value and its closing tag; False when the end comes first."""
        closer = self.value_closer.strip()
        has_line = self.value_closer.startswith("\n")
        ends = markers("\n" + closer, closer) if has_line else markers(closer)
        while True:
            match = ends.pattern.search(source.text, source.at)
            stop = match.start() if match else ends.held_back(source.text, source.at)
            if stop > source.at:
                sink(source.text[source.at : stop])
                source.at = stop
            if match is not None:
                source.at = match.end()
                return True
            if not (yield from source.more()):
                return False


def _lines(text: str) -> tuple[str, ...]:
    """The tags of a text that stand in lines of their own."""
    return tuple(line.strip() for line in text.split("\n") if line.strip())


def _escaped(text: str) -> str:
    """As it stands within a string of JSON."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
