"""OpenAI's answers: one object, or the same in chunks."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any
from uuid import uuid4

from worker.api.errors import ApiError, openai_envelope
from worker.api.frames import TextFrames
from worker.api.json_text import json_logprob
from worker.api.openai_usage import llama_timings, usage
from worker.api.sse import DONE, encode
from worker.api.turn import Answer, Choice, Ended, Piece
from worker.chat.messages import ToolCall
from worker.chat.parts import AnswerPart, CallArguments, CallStart, ReasoningPart, TextPart
from worker.engine.events import FinishReason, TokenEvent

Record = dict[str, Any]


class ChatAnswer:
    """An answer as one client wants it. `with_logprobs` and `with_usage` are what was asked for;
    with `as_function` a call is written in the form that came before tools."""

    def __init__(
        self,
        answer: Answer,
        model_id: str,
        fingerprint: str,
        *,
        with_logprobs: bool,
        with_usage: bool,
        as_function: bool = False,
    ) -> None:
        self._answer = answer
        self._head = {"id": f"chatcmpl-{uuid4().hex}", "object": "", "created": int(time.time())}
        self._tail = {"model": model_id, "system_fingerprint": fingerprint}
        self._with_logprobs = with_logprobs
        self._with_usage = with_usage
        self._as_function = as_function
        self._frames: dict[tuple[int, str], TextFrames] = {}

    async def whole(self) -> Record:
        """Raises ApiError when a choice fails or is cut off."""
        choices = await self._answer.whole()
        record = self._head | {"object": "chat.completion"} | self._tail
        written = [self._choice(index, choice) for index, choice in enumerate(choices)]
        return record | {"choices": written} | _costs([choice.end for choice in choices])

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Roles first, then what comes as it comes, the reasons in empty last deltas, [DONE]."""
        ends: dict[int, Ended] = {}
        async with aclosing(self._answer.arrivals()) as arrivals:
            for index in range(self._answer.num_choices):
                yield encode(self._chunk(index, {"role": "assistant", "content": ""}))
            try:
                async for pieces in arrivals:
                    if frames := b"".join([self._piece(piece, ends) for piece in pieces]):
                        yield frames
            except ApiError as error:
                yield encode(openai_envelope(error))
                return
        if self._with_usage:
            costs = _costs([ends[index] for index in sorted(ends)])
            yield encode(self._record([]) | costs) + DONE
        else:
            yield DONE

    def _piece(self, piece: Piece, ends: dict[int, Ended]) -> bytes:
        """What it says; if it is the choice's last, also its end, which is added to `ends`."""
        if piece.end is None:
            return self._encode(piece)
        ends[piece.index] = piece.end
        is_last = len(ends) == self._answer.num_choices
        return self._encode(piece) + self._end(piece.index, ends, is_last)

    def _encode(self, piece: Piece) -> bytes:
        index, parts = piece.index, piece.parts
        if self._with_logprobs:
            return self._with_entries(piece)
        if len(parts) == 1:
            return self._part(index, parts[0])
        return b"".join([self._part(index, part) for part in parts])

    def _part(self, index: int, part: AnswerPart) -> bytes:
        match part:
            case TextPart():
                return self._text(index, "content", part.text)
            case ReasoningPart():
                return self._text(index, "reasoning_content", part.text)
            case _:
                delta = self._call_delta(part)
                return encode(self._chunk(index, delta)) if delta else b""

    def _text(self, index: int, field: str, text: str) -> bytes:
        frames = self._frames.get((index, field))
        if frames is None:
            frames = TextFrames(lambda place: self._chunk(index, {field: place}))
            self._frames[index, field] = frames
        return frames.encode(text)

    def _with_entries(self, piece: Piece) -> bytes:
        """The log-probabilities go with the first part that they belong to."""
        entries = _entries(piece.text_tokens)
        frames = []
        for part in piece.parts:
            if entries and isinstance(part, TextPart):
                delta = {"content": part.text}
                frames.append(encode(self._chunk(piece.index, delta, entries)))
                entries = []
            else:
                frames.append(self._part(piece.index, part))
        return b"".join(frames)

    def _call_delta(self, part: AnswerPart) -> Record | None:
        """What of a call is said once is said at its start only: clients add up the rest."""
        call: Record
        match part:
            case CallStart():
                function = {"name": part.name, "arguments": ""}
                call = {"id": part.id, "type": "function", "function": function}
                index = part.index
            case CallArguments():
                call = {"function": {"arguments": part.text}}
                index = part.index
            case _:
                return None
        if self._as_function:
            return {"function_call": call["function"]}
        return {"tool_calls": [{"index": index} | call]}

    def _end(self, index: int, ends: dict[int, Ended], is_last: bool) -> bytes:
        reason = self._finish_reason(ends[index])
        chunk = self._chunk(index, {}, finish_reason=reason)
        if is_last and not self._with_usage:
            chunk["timings"] = llama_timings(ends[0].timings)
        return encode(chunk)

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
            "logprobs": _block(logprobs) if logprobs else None,
            "finish_reason": finish_reason,
        }
        record = self._record([choice])
        return record | {"usage": None} if self._with_usage else record

    def _record(self, choices: list[Record]) -> Record:
        kind = {"object": "chat.completion.chunk"}
        return self._head | kind | self._tail | {"choices": choices}

    def _choice(self, index: int, choice: Choice) -> Record:
        message: Record = {
            "role": "assistant",
            "content": choice.text if choice.text or not choice.calls else None,
            "refusal": None,
        }
        if choice.reasoning:
            message["reasoning_content"] = choice.reasoning
        if choice.calls:
            message |= self._calls(choice.calls)
        return {
            "index": index,
            "message": message,
            "logprobs": _block(_entries(choice.text_tokens)) if self._with_logprobs else None,
            "finish_reason": self._finish_reason(choice.end),
        }

    def _calls(self, calls: Sequence[ToolCall]) -> Record:
        functions = [{"name": call.name, "arguments": call.arguments} for call in calls]
        if self._as_function:
            return {"function_call": functions[0]}
        return {
            "tool_calls": [
                {"id": call.id, "type": "function", "function": function}
                for call, function in zip(calls, functions, strict=True)
            ]
        }

    def _finish_reason(self, end: Ended) -> str:
        if end.reason is FinishReason.LENGTH:
            return "length"
        if end.num_calls:
            return "function_call" if self._as_function else "tool_calls"
        return "stop"


def _costs(ends: Sequence[Ended]) -> Record:
    thoughts = sum(end.num_reasoning_tokens for end in ends)
    return {
        "usage": usage([end.timings for end in ends], thoughts),
        "timings": llama_timings(ends[0].timings),
    }


def _block(entries: list[Record]) -> Record:
    return {"content": entries, "refusal": None}


def _entries(tokens: Sequence[TokenEvent]) -> list[Record]:
    return [
        _entry(token.raw, token.logprob)
        | {"top_logprobs": [_entry(one.raw, one.logprob) for one in token.top_logprobs]}
        for token in tokens
        if token.logprob is not None
    ]


def _entry(raw: bytes, logprob: float) -> Record:
    text = raw.decode(errors="replace")
    return {"token": text, "logprob": json_logprob(logprob), "bytes": list(raw)}
