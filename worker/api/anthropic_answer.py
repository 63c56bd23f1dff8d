"""Anthropic's answers: a stream of named events, or the message that they add up to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any
from uuid import uuid4

from worker.api.anthropic_blocks import BlockWriter, MessageReader
from worker.api.anthropic_prompt import Thoughts
from worker.api.errors import ApiError, anthropic_envelope
from worker.api.json_text import to_json
from worker.api.turn import Answer, Ended, Piece
from worker.engine.events import FinishReason, Timings

Record = dict[str, Any]

PING_EVERY_S = 5.0
PING = b'event: ping\ndata: {"type": "ping"}\n\n'


class MessageAnswer:
    """One answer being written.

    `max_tokens` is what the request asked for; with 0 the prompt is computed, and the one token
    that the engine cannot help writing is not told of. With `marks_cache` what was computed counts
    as written to the cache, as the client expects that marked its prompt.
    """

    def __init__(
        self, model_id: str, *, max_tokens: int, thoughts: Thoughts, marks_cache: bool
    ) -> None:
        self._model_id = model_id
        self._max_tokens = max_tokens
        self._marks_cache = marks_cache
        self._blocks = BlockWriter(thoughts)

    async def whole(self, answer: Answer) -> Record:
        """Raises ApiError when it fails or is cut off."""
        reader = MessageReader()
        reader.read(self._start(answer.num_prompt_tokens))
        async with aclosing(answer.pieces()) as pieces:
            async for piece in pieces:
                for event in self._events(piece):
                    reader.read(event)
        return reader.message

    async def stream(self, answer: Answer) -> AsyncGenerator[bytes, None]:
        """Begins at once, long before the prompt is computed. A failure is its last event."""
        async with aclosing(answer.pieces()) as pieces:
            yield _frame(self._start(answer.num_prompt_tokens))
            try:
                async for piece in pieces:
                    if frames := b"".join([_frame(event) for event in self._events(piece)]):
                        yield frames
            except ApiError as error:
                yield _frame(anthropic_envelope(error))

    def _start(self, num_prompt_tokens: int) -> Record:
        """How much of the prompt is cached is not known before the end, and there told."""
        message: Record = {
            "id": f"msg_{uuid4().hex}",
            "type": "message",
            "role": "assistant",
            "model": self._model_id,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(num_prompt_tokens, 0, 0),
        }
        return {"type": "message_start", "message": message}

    def _events(self, piece: Piece) -> Iterator[Record]:
        if self._max_tokens:
            yield from self._blocks.read(piece.parts)
        if piece.end is None:
            return
        if self._max_tokens:
            yield from self._blocks.finish()
        reason = self._stop_reason(piece.end)
        sequence = piece.end.stop_string if reason == "stop_sequence" else None
        yield {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": sequence},
            "usage": self._costs(piece.end),
        }
        yield {"type": "message_stop"}

    def _stop_reason(self, end: Ended) -> str:
        match end.reason:
            case FinishReason.LENGTH if end.timings.completion_tokens < self._max_tokens:
                return "model_context_window_exceeded"
            case FinishReason.STOP_STRING if self._max_tokens:
                return "stop_sequence"
            case FinishReason.EOS if self._max_tokens:
                return "tool_use" if end.num_calls else "end_turn"
            case _:
                return "max_tokens"

    def _costs(self, end: Ended) -> Record:
        """A token of the prompt counts once: as read from the cache, as written to it, or as
        input. The last is computed each time, and always input."""
        timings: Timings = end.timings
        computed = timings.prompt_tokens - timings.cached_tokens
        created = max(0, computed - 1) if self._marks_cache else 0
        usage = _usage(computed - created, created, timings.cached_tokens)
        if self._max_tokens:
            usage["output_tokens"] = timings.completion_tokens
            usage["output_tokens_details"] = {"thinking_tokens": end.num_reasoning_tokens}
        return usage


def _usage(num_input: int, num_created: int, num_read: int) -> Record:
    return {
        "input_tokens": num_input,
        "cache_creation_input_tokens": num_created,
        "cache_read_input_tokens": num_read,
        "output_tokens": 0,
    }


def _frame(event: Record) -> bytes:
    """Clients go by the name of an event and skip those without."""
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), to_json(event))
