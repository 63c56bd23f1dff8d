"""OpenAI's answers: one object, or the same in chunks."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import uuid4

from worker.api.errors import ApiError, openai_envelope
from worker.api.generate import cut_off, failure
from worker.api.json_text import json_logprob, to_json
from worker.api.sse import DONE, encode
from worker.engine.events import EngineEvent, Failed, Finished, FinishReason, Timings, TokenEvent
from worker.engine.stream import Generation

Record = dict[str, Any]

_FINISH_REASONS = {
    FinishReason.EOS: "stop",
    FinishReason.STOP_STRING: "stop",
    FinishReason.LENGTH: "length",
}


class ChatAnswer:
    """One answer being written. `with_logprobs` and `with_usage` are what the request asked for."""

    def __init__(
        self, model_id: str, fingerprint: str, *, with_logprobs: bool, with_usage: bool
    ) -> None:
        self._head = {"id": f"chatcmpl-{uuid4().hex}", "object": "", "created": int(time.time())}
        self._tail = {"model": model_id, "system_fingerprint": fingerprint}
        self._with_logprobs = with_logprobs
        self._with_usage = with_usage
        place = uuid4().hex  # where a chunk's text goes; in no model's name
        self._around_text = to_json(self._chunk({"content": place})).split(to_json(place))

    async def whole(self, generation: Generation) -> Record:
        """Raises ApiError when the generation fails or is cut off."""
        parts: list[str] = []
        logprobs: list[Record] = []
        async with aclosing(generation):
            async for event in generation:
                match event:
                    case TokenEvent():
                        parts.append(event.text)
                        logprobs += _logprobs(event)
                    case Finished():
                        reason = _finish_reason(event)
                        text = "".join(parts) + event.text
                        return self._completion(text, logprobs, reason, event.timings)
                    case Failed():
                        raise failure(event)
        raise AssertionError("a generation ends in a terminal event")

    async def stream(self, generation: Generation) -> AsyncGenerator[bytes, None]:
        """Role first, then text as it comes, the reason in an empty last delta, [DONE]."""
        async with aclosing(generation):
            yield encode(self._chunk({"role": "assistant", "content": ""}))
            while events := await generation.next_events():
                if frames := b"".join([self._frames(event) for event in events]):
                    yield frames

    def _frames(self, event: EngineEvent) -> bytes:
        if isinstance(event, TokenEvent):
            return self._token(event)
        try:
            return self._end(event) + DONE
        except ApiError as error:
            return encode(openai_envelope(error))

    def _token(self, event: TokenEvent) -> bytes:
        if event.logprob is None:
            return self._text(event.text)
        return encode(self._chunk({"content": event.text}, _logprobs(event)))

    def _text(self, text: str) -> bytes:
        if not text:
            return b""
        # Nearly all that is ever sent is of this form: only the text is encoded anew.
        before, after = self._around_text
        return b"data: %b%b%b\n\n" % (before, to_json(text), after)

    def _end(self, event: Finished | Failed) -> bytes:
        """Raises ApiError when there is no answer."""
        if isinstance(event, Failed):
            raise failure(event)
        reason = _finish_reason(event)
        end = self._text(event.text) + encode(self._chunk({}, finish_reason=reason))
        if not self._with_usage:
            return end
        return end + encode(self._record("chat.completion.chunk", [], _usage(event.timings)))

    def _chunk(
        self, delta: Record, logprobs: list[Record] | None = None, finish_reason: str | None = None
    ) -> Record:
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": self._logprobs_block(logprobs) if logprobs else None,
            "finish_reason": finish_reason,
        }
        return self._record("chat.completion.chunk", [choice], None)

    def _record(self, kind: str, choices: list[Record], usage: Record | None) -> Record:
        record = self._head | {"object": kind} | self._tail | {"choices": choices}
        if self._with_usage:
            record["usage"] = usage
        return record

    def _completion(
        self, text: str, logprobs: list[Record], reason: str, timings: Timings
    ) -> Record:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": self._logprobs_block(logprobs) if self._with_logprobs else None,
            "finish_reason": reason,
        }
        record = self._head | {"object": "chat.completion"} | self._tail
        return record | {"choices": [choice], "usage": _usage(timings)}

    def _logprobs_block(self, entries: list[Record]) -> Record:
        return {"content": entries, "refusal": None}


def _finish_reason(event: Finished) -> str:
    """Raises ApiError for an answer that is not one."""
    if event.reason is FinishReason.CANCELLED:
        raise cut_off(event)
    return _FINISH_REASONS[event.reason]


def _usage(timings: Timings) -> Record:
    return {
        "prompt_tokens": timings.prompt_tokens,
        "completion_tokens": timings.completion_tokens,
        "total_tokens": timings.prompt_tokens + timings.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": timings.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _logprobs(event: TokenEvent) -> list[Record]:
    """The token's entry, or none where none was asked for."""
    if event.logprob is None:
        return []
    top = [_entry(one.raw, one.logprob) for one in event.top_logprobs]
    return [_entry(event.raw, event.logprob) | {"top_logprobs": top}]


def _entry(raw: bytes, logprob: float) -> Record:
    text = raw.decode(errors="replace")
    return {"token": text, "logprob": json_logprob(logprob), "bytes": list(raw)}
