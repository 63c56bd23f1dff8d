"""Events of a stream that differ in one text only, which is nearly all that is ever sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from worker.api.json_text import to_json


class TextFrames:
    """`chunk` makes the JSON value of an event around a text; here it is called once."""

    def __init__(self, chunk: Callable[[str], Any]) -> None:
        place = uuid4().hex  # where the text goes; in no model's name
        before, after = to_json(chunk(place)).split(to_json(place))
        self._before, self._after = b"data: " + before, after + b"\n\n"

    def encode(self, text: str) -> bytes:
        return self._before + to_json(text) + self._after
