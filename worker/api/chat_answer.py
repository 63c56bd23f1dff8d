"""OpenAI's answers: one object, or the same in chunks."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any
from uuid import uuid4

from worker.api.choices import read_choices
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
    """One answer being written, with one choice or several. `with_logprobs` and `with_usage` are
    what the request asked for."""

    def __init__(
        self, model_id: str, fingerprint: str, *, with_logprobs: bool, with_usage: bool
    ) -> None:
        self._head = {"id": f"chatcmpl-{uuid4().hex}", "object": "", "created": int(time.time())}
        self._tail = {"model": model_id, "system_fingerprint": fingerprint}
        self._with_logprobs = with_logprobs
        self._with_usage = with_usage
        self._around_text: dict[int, list[bytes]] = {}

    async def whole(self, generations: Sequence[Generation]) -> Record:
        """Raises ApiError when one of them fails or is cut off."""
        drafts = [_Draft() for _ in generations]
        async with aclosing(read_choices(generations)) as choices:
            async for index, events in choices:
                for event in events:
                    drafts[index].add(event)
        record = self._head | {"object": "chat.completion"} | self._tail
        written = [self._choice(index, draft) for index, draft in enumerate(drafts)]
        return record | {"choices": written, "usage": _usage([draft.timings for draft in drafts])}

    async def stream(self, generations: Sequence[Generation]) -> AsyncGenerator[bytes, None]:
        """Roles first, then text as it comes, the reasons in empty last deltas, [DONE]."""
        timings = [Timings() for _ in generations]
        async with aclosing(read_choices(generations)) as choices:
            for index in range(len(generations)):
                yield encode(self._chunk(index, {"role": "assistant", "content": ""}))
            async for index, events in choices:
                try:
                    frames = b"".join([self._frames(index, event) for event in events])
                except ApiError as error:
                    yield encode(openai_envelope(error))
                    return
                if isinstance(events[-1], Finished):
                    timings[index] = events[-1].timings
                if frames:
                    yield frames
        usage = self._record("chat.completion.chunk", [], _usage(timings))
        yield encode(usage) + DONE if self._with_usage else DONE

    def _frames(self, index: int, event: EngineEvent) -> bytes:
        """Raises ApiError when there is no answer."""
        match event:
            case TokenEvent():
                return self._token(index, event)
            case Finished():
                end = encode(self._chunk(index, {}, finish_reason=_finish_reason(event)))
                return self._text(index, event.text) + end
            case Failed():
                raise failure(event)

    def _token(self, index: int, event: TokenEvent) -> bytes:
        if event.logprob is None:
            return self._text(index, event.text)
        return encode(self._chunk(index, {"content": event.text}, _logprobs(event)))

    def _text(self, index: int, text: str) -> bytes:
        if not text:
            return b""
        # Nearly all that is ever sent is of this form: only the text is encoded anew.
        around = self._around_text.get(index)
        if around is None:
            place = uuid4().hex  # where the text goes; in no model's name
            chunk = to_json(self._chunk(index, {"content": place}))
            around = self._around_text[index] = chunk.split(to_json(place))
        return b"data: %b%b%b\n\n" % (around[0], to_json(text), around[1])

    def _chunk(
        self,
        index: int,
        delta: Record,
        logprobs: list[Record] | None = None,
        finish_reason: str | None = None,
    ) -> Record:
        choice = {
            "index": index,
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

    def _choice(self, index: int, draft: _Draft) -> Record:
        return {
            "index": index,
            "message": {"role": "assistant", "content": "".join(draft.parts), "refusal": None},
            "logprobs": self._logprobs_block(draft.logprobs) if self._with_logprobs else None,
            "finish_reason": draft.reason,
        }

    def _logprobs_block(self, entries: list[Record]) -> Record:
        return {"content": entries, "refusal": None}


class _Draft:
    """What there is of a choice so far."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.logprobs: list[Record] = []
        self.reason = ""
        self.timings = Timings()

    def add(self, event: EngineEvent) -> None:
        """Raises ApiError when there is no answer."""
        match event:
            case TokenEvent():
                self.parts.append(event.text)
                self.logprobs += _logprobs(event)
            case Finished():
                self.parts.append(event.text)
                self.reason = _finish_reason(event)
                self.timings = event.timings
            case Failed():
                raise failure(event)


def _finish_reason(event: Finished) -> str:
    """Raises ApiError for an answer that is not one."""
    if event.reason is FinishReason.CANCELLED:
        raise cut_off(event)
    return _FINISH_REASONS[event.reason]


def _usage(timings: Sequence[Timings]) -> Record:
    """Of all choices together. They have one prompt, which counts once."""
    prompt_tokens = timings[0].prompt_tokens
    completion_tokens = sum(one.completion_tokens for one in timings)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": timings[0].cached_tokens},
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
