"""OpenAI's completions: one object, or the same in chunks."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from worker.api.choices import read_choices
from worker.api.compute import score
from worker.api.errors import ApiError, openai_envelope
from worker.api.frames import TextFrames
from worker.api.generate import cut_off, failure
from worker.api.openai_usage import llama_timings, usage_of_prompts
from worker.api.prompts import ReadPrompt
from worker.api.service import LoadedModel
from worker.api.sse import DONE, encode
from worker.api.token_texts import TokenTexts, joined
from worker.engine.events import EngineEvent, Failed, Finished, FinishReason, Timings, TokenEvent
from worker.engine.runner import Sample
from worker.engine.stream import Generation

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be written: `num_choices` for each prompt, one prompt's after the other's.
    `num_top` None asks for no log-probabilities."""

    prompts: Sequence[ReadPrompt]
    num_choices: int
    num_top: int | None
    echoes: bool
    with_usage: bool


@dataclass(slots=True)
class _Draft:
    """What there is of a choice so far."""

    texts: TokenTexts = field(default_factory=TokenTexts)
    text: list[str] = field(default_factory=list)
    logprobs: Record | None = None
    reason: str = "length"
    timings: Timings = Timings()


class TextAnswer:
    """`generations` are all the choices'; none when only prompts are to be echoed."""

    def __init__(self, model: LoadedModel, asked: Asked, generations: Sequence[Generation]) -> None:
        self._model = model
        self._asked = asked
        self._generations = generations
        self._head = {
            "id": f"cmpl-{uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model.id,
            "system_fingerprint": model.info.build,
        }
        self._frames: dict[int, TextFrames] = {}
        num_drafts = len(asked.prompts) * asked.num_choices
        self._drafts = [_Draft() for _ in range(num_drafts)]

    async def whole(self) -> Record:
        """Raises ApiError when a choice fails or is cut off."""
        async with aclosing(self._pieces()) as pieces:
            async for index, text, logprobs in pieces:
                draft = self._drafts[index]
                draft.text.append(text)
                if logprobs is not None:
                    before = draft.logprobs
                    draft.logprobs = logprobs if before is None else joined(before, logprobs)
        choices = [
            _choice(index, "".join(draft.text), draft.logprobs, draft.reason)
            for index, draft in enumerate(self._drafts)
        ]
        return self._head | {"choices": choices} | self._costs()

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Text as it comes, the reasons in empty last chunks, [DONE]."""
        try:
            async with aclosing(self._pieces()) as pieces:
                async for index, text, logprobs in pieces:
                    if text or logprobs is not None:
                        yield self._encode(index, text, logprobs)
        except ApiError as error:
            yield encode(openai_envelope(error))
            return
        ends = [self._chunk(i, "", None, draft.reason) for i, draft in enumerate(self._drafts)]
        if self._asked.with_usage:
            ends.append(self._head | {"choices": []} | self._costs())
        else:
            ends[-1] |= {"timings": llama_timings(self._drafts[0].timings)}
        yield b"".join(map(encode, ends)) + DONE

    async def _pieces(self) -> AsyncGenerator[tuple[int, str, Record | None], None]:
        """Of which choice, its text, its log-probabilities. Raises ApiError."""
        try:
            if self._asked.echoes:
                async with aclosing(self._echoes()) as echoes:
                    async for echo in echoes:
                        yield echo
            if not self._generations:
                return
            async with aclosing(read_choices(self._generations)) as choices:
                async for index, events in choices:
                    text, logprobs = self._read(self._drafts[index], events)
                    yield index, text, logprobs
        finally:
            for generation in self._generations:
                await generation.aclose()

    async def _echoes(self) -> AsyncGenerator[tuple[int, str, Record | None], None]:
        count, num_top = self._asked.num_choices, self._asked.num_top
        for at, prompt in enumerate(self._asked.prompts):
            scored: list[Sample] = []
            if num_top is not None:
                scored = await score(self._model, prompt.tokens, num_top)
            for index in range(at * count, (at + 1) * count):
                draft, logprobs = self._drafts[index], None
                if num_top is not None:
                    vocab = self._model.vocab
                    logprobs = draft.texts.of_prompt(vocab, scored, prompt.text)
                if not self._generations:
                    draft.timings = Timings(prompt_tokens=len(prompt.tokens))
                yield index, prompt.text, logprobs

    def _read(self, draft: _Draft, events: Sequence[EngineEvent]) -> tuple[str, Record | None]:
        """Raises ApiError when there is no answer."""
        texts, tokens = [], []
        for event in events:
            if isinstance(event, Failed):
                raise failure(event)
            texts.append(event.text)
            if isinstance(event, TokenEvent):
                tokens.append(event)
        last = events[-1]
        if isinstance(last, Finished):
            if last.reason is FinishReason.CANCELLED:
                raise cut_off(last)
            draft.reason = "length" if last.reason is FinishReason.LENGTH else "stop"
            draft.timings = last.timings
        logprobs = None
        if self._asked.num_top is not None and tokens:
            logprobs = draft.texts.of_tokens(tokens)
        return "".join(texts), logprobs

    def _encode(self, index: int, text: str, logprobs: Record | None) -> bytes:
        if logprobs is not None:
            return encode(self._chunk(index, text, logprobs, None))
        frames = self._frames.get(index)
        if frames is None:
            frames = TextFrames(lambda place: self._chunk(index, place, None, None))
            self._frames[index] = frames
        return frames.encode(text)

    def _chunk(self, index: int, text: str, logprobs: Record | None, reason: str | None) -> Record:
        record = self._head | {"choices": [_choice(index, text, logprobs, reason)]}
        return record | {"usage": None} if self._asked.with_usage else record

    def _costs(self) -> Record:
        count = self._asked.num_choices
        timings = [draft.timings for draft in self._drafts]
        prompts = [timings[at : at + count] for at in range(0, len(timings), count)]
        return {"usage": usage_of_prompts(prompts), "timings": llama_timings(timings[0])}


def _choice(index: int, text: str, logprobs: Record | None, reason: str | None) -> Record:
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": reason}
