"""The output items of `/v1/responses` as they grow, and the events that tell of it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from worker.api.json_text import json_logprob
from worker.api.schemas.responses_input import sealed
from worker.engine.events import TokenEvent

Record = dict[str, Any]


class OutputItem:
    """One item. Every method gives the events of what it did, without their sequence numbers.

    `index` is its place in the output; `record` is what it is when it has ended.
    """

    def __init__(self, index: int, prefix: str, record: Record) -> None:
        self.id = f"{prefix}_{uuid4().hex}"
        self.record: Record = {"id": self.id, **record, "status": "in_progress"}
        self._place = {"item_id": self.id, "output_index": index}
        self._index = index
        self._pieces: list[str] = []

    def begin(self) -> list[Record]:
        return [self._whole("added", dict(self.record))]

    def grow(self, text: str) -> list[Record]:
        raise NotImplementedError

    def end(self, status: str) -> list[Record]:
        self.record["status"] = status
        return [self._whole("done", self.record)]

    @property
    def _text(self) -> str:
        return "".join(self._pieces)

    def _whole(self, what: str, record: Record) -> Record:
        kind = f"response.output_item.{what}"
        return {"type": kind, "output_index": self._index, "item": record}


class Call(OutputItem):
    """A function that is to be called."""

    def __init__(self, index: int, call_id: str, name: str) -> None:
        record = {"type": "function_call", "call_id": call_id, "name": name, "arguments": ""}
        super().__init__(index, "fc", record)

    def grow(self, text: str) -> list[Record]:
        self._pieces.append(text)
        return [{"type": "response.function_call_arguments.delta", **self._place, "delta": text}]

    def end(self, status: str) -> list[Record]:
        self.record["arguments"] = self._text
        kind, name = "response.function_call_arguments.done", self.record["name"]
        done = {"type": kind, **self._place, "name": name, "arguments": self._text}
        return [done, *super().end(status)]


class Written(OutputItem):
    """An item with one part, which is text. `event` begins the names of the text's events."""

    event: str

    def begin(self) -> list[Record]:
        return [*super().begin(), self._part("added")]

    def grow(self, text: str) -> list[Record]:
        self._pieces.append(text)
        return [{"type": f"{self.event}.delta", **self._place, "content_index": 0, "delta": text}]

    def end(self, status: str) -> list[Record]:
        text, part = self._text, self._part("done")
        self.record["content"] = [part["part"]]
        done = {"type": f"{self.event}.done", **self._place, "content_index": 0, "text": text}
        return [done, part, *super().end(status)]

    def _part(self, what: str) -> Record:
        kind = f"response.content_part.{what}"
        return {"type": kind, **self._place, "content_index": 0, "part": self.part()}

    def part(self) -> Record:
        """As it is now."""
        raise NotImplementedError


class Message(Written):
    """What is said to the reader, with the tokens' log-probabilities if they were asked for."""

    event = "response.output_text"

    def __init__(self, index: int) -> None:
        super().__init__(index, "msg", {"type": "message", "role": "assistant", "content": []})
        self._logprobs: list[Record] = []

    def say(self, text: str, tokens: list[TokenEvent]) -> list[Record]:
        entries = [entry for token in tokens for entry in _logprobs(token)]
        self._logprobs += entries
        return [event | {"logprobs": entries} for event in self.grow(text)]

    def end(self, status: str) -> list[Record]:
        done, *others = super().end(status)
        return [done | {"logprobs": self._logprobs}, *others]

    def part(self) -> Record:
        part = {"type": "output_text", "text": self._text, "annotations": []}
        return part | {"logprobs": list(self._logprobs)}


class Reasoning(Written):
    """What the model thought; if it is to be `sealed`, also as clients give it back."""

    event = "response.reasoning_text"

    def __init__(self, index: int, *, is_sealed: bool) -> None:
        super().__init__(index, "rs", {"type": "reasoning", "summary": [], "content": []})
        self._is_sealed = is_sealed

    def end(self, status: str) -> list[Record]:
        if self._is_sealed:
            self.record["encrypted_content"] = sealed(self._text)
        return super().end(status)

    def part(self) -> Record:
        return {"type": "reasoning_text", "text": self._text}


def _logprobs(event: TokenEvent) -> list[Record]:
    """The token's entry, or none where none was asked for."""
    if event.logprob is None:
        return []
    top = [_entry(one.raw, one.logprob) for one in event.top_logprobs]
    return [_entry(event.raw, event.logprob) | {"top_logprobs": top}]


def _entry(raw: bytes, logprob: float) -> Record:
    text = raw.decode(errors="replace")
    return {"token": text, "logprob": json_logprob(logprob), "bytes": list(raw)}
