"""OpenAI's responses: one object, or the events of its becoming."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import uuid4

from worker.api.errors import ApiError, openai_envelope
from worker.api.json_text import to_json
from worker.api.responses_items import Record
from worker.api.responses_output import Output
from worker.api.schemas.openai_responses import ResponsesRequest
from worker.api.schemas.responses_tools import FunctionTool
from worker.api.turn import Answer, Ended, Piece
from worker.engine.events import FinishReason
from worker.engine.params import SamplingParams


class ResponsesAnswer:
    """The answer to one request, being written."""

    def __init__(self, model_id: str, body: ResponsesRequest, params: SamplingParams) -> None:
        self._record = _head(model_id) | _echo(body, params)
        self._uses_cache = body.uses_cache
        self._output = Output(seals_thoughts=body.wants_sealed_thoughts)
        self._num_events = 0

    async def whole(self, answer: Answer) -> Record:
        """Raises ApiError when it fails or is cut off."""
        async with aclosing(answer.pieces()) as pieces:
            async for piece in pieces:
                self._read(piece)
        return self._record

    async def stream(self, answer: Answer) -> AsyncGenerator[bytes, None]:
        """From response.created to response.completed, incomplete, or failed and an error."""
        async with aclosing(answer.pieces()) as pieces:
            yield self._lifecycle("created") + self._lifecycle("in_progress")
            try:
                async for piece in pieces:
                    if events := self._read(piece):
                        yield b"".join(map(self._encode, events))
            except ApiError as error:
                yield self._failed(error)
                return
        yield self._lifecycle(self._record["status"])

    def _read(self, piece: Piece) -> list[Record]:
        events = self._output.add(piece.parts, piece.text_tokens)
        if piece.end is not None:
            is_complete = piece.end.reason is not FinishReason.LENGTH
            events += self._output.finish(is_complete=is_complete)
            self._end(piece.end, is_complete)
        return events

    def _end(self, end: Ended, is_complete: bool) -> None:
        details = None if is_complete else {"reason": "max_output_tokens"}
        self._record |= {
            "status": "completed" if is_complete else "incomplete",
            "completed_at": int(time.time()) if is_complete else None,
            "incomplete_details": details,
            "output": self._output.items,
            "usage": _usage(end, self._uses_cache),
        }

    def _failed(self, error: ApiError) -> bytes:
        """Some clients look for the one event, some for the other."""
        self._output.finish(is_complete=False)
        failure = {"code": "server_error", "message": error.message}
        self._record |= {"status": "failed", "error": failure, "output": self._output.items}
        envelope = openai_envelope(error)
        told = {name: envelope["error"][name] for name in ("code", "message", "param")}
        return self._lifecycle("failed") + self._encode({"type": "error", **told, **envelope})

    def _lifecycle(self, what: str) -> bytes:
        return self._encode({"type": f"response.{what}", "response": self._record})

    def _encode(self, event: Record) -> bytes:
        numbered = event | {"sequence_number": self._num_events}
        self._num_events += 1
        return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), to_json(numbered))


def _head(model_id: str) -> Record:
    return {
        "id": f"resp_{uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model_id,
        "output": [],
        "previous_response_id": None,
        "service_tier": "default",
        "store": False,
        "truncation": "disabled",
        "usage": None,
    }


def _echo(body: ResponsesRequest, params: SamplingParams) -> Record:
    """What the request asked for, with what it left to us."""
    choice, format = body.tool_choice, None if body.text is None else body.text.format
    reasoning = body.reasoning
    return {
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": None,
        "metadata": body.metadata or {},
        "parallel_tool_calls": body.allows_many_calls,
        "prompt_cache_key": body.prompt_cache_key,
        "reasoning": {"effort": reasoning and reasoning.effort, "summary": None},
        "safety_identifier": body.safety_identifier,
        "temperature": params.temperature,
        "text": {"format": {"type": "text"} if format is None else _given(format)},
        "tool_choice": choice if isinstance(choice, str) else _given(choice) or "auto",
        "tools": [_tool(tool) for tool in body.tools or [] if isinstance(tool, FunctionTool)],
        "top_logprobs": params.logprobs or 0,
        "top_p": params.top_p,
        "user": body.user,
    }


def _given(value: Any) -> Any:
    """As it came, but for what was not understood."""
    return None if value is None else value.model_dump(by_alias=True, exclude_unset=True)


def _tool(tool: FunctionTool) -> Record:
    """With all that the official client's type requires."""
    given: Record = _given(tool)
    return {"description": None, "parameters": None, "strict": None} | given


def _usage(end: Ended, uses_cache: bool) -> Record:
    timings = end.timings
    computed = timings.prompt_tokens - timings.cached_tokens
    return {
        "input_tokens": timings.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": timings.cached_tokens,
            "cache_write_tokens": computed if uses_cache else 0,
        },
        "output_tokens": timings.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": end.num_reasoning_tokens},
        "total_tokens": timings.prompt_tokens + timings.completion_tokens,
    }
