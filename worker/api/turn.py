"""A turn of a chat, on its way through the model: the same for every dialect.

A dialect makes a `Turn` of its request, calls `start_turn`, and writes what `Answer.pieces` or
`Answer.whole` gives in its own words.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime

from worker.api.choices import read_choices
from worker.api.errors import invalid
from worker.api.generate import cut_off, failure, start_choices
from worker.api.sampling import ready_params
from worker.api.service import LoadedModel
from worker.chat.messages import Conversation, ToolCall
from worker.chat.parts import (
    AnswerParser,
    AnswerPart,
    CallArguments,
    CallEnd,
    CallStart,
    ReasoningPart,
    TextPart,
)
from worker.chat.prompt import Prompt
from worker.chat.sandbox import TemplateFailed
from worker.engine.constraint import ConstraintSpec
from worker.engine.events import Failed, Finished, FinishReason, Timings, TokenEvent
from worker.engine.params import InvalidParam, SamplingParams
from worker.engine.stream import Generation


@dataclass(frozen=True, slots=True)
class Turn:
    """What is asked. `form` is what the answer's text must look like; `field` is what the
    conversation is called in the request."""

    conversation: Conversation
    params: SamplingParams
    form: ConstraintSpec | None = None
    num_choices: int = 1
    reproducible: bool = False
    agent: str | None = None
    use_cache: bool = True
    priority: int = 0
    field: str = "messages"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a choice ended. `reason` is never CANCELLED. `num_reasoning_tokens` of the tokens were
    thoughts."""

    reason: FinishReason
    stop_string: str | None
    timings: Timings
    num_calls: int
    num_reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """More of the choice `index`: what was recognised, which tokens came, its end. `text_tokens`
    are those that the text was made of, up to here."""

    index: int
    parts: Sequence[AnswerPart]
    tokens: Sequence[TokenEvent]
    end: Ended | None = None
    text_tokens: Sequence[TokenEvent] = ()


@dataclass(slots=True)
class Choice:
    """A whole answer."""

    text: str = ""
    reasoning: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    tokens: list[TokenEvent] = field(default_factory=list)
    text_tokens: list[TokenEvent] = field(default_factory=list)
    parts: list[AnswerPart] = field(default_factory=list)
    end: Ended = Ended(FinishReason.LENGTH, None, Timings(), 0)


async def start_turn(model: LoadedModel, turn: Turn) -> Answer:
    """Check everything, render, and queue. Raises ApiError and InvalidParam; afterwards nothing of
    the request can be wrong any more."""
    prompt = await render(model, turn.conversation, field=turn.field)
    form = turn.form
    calls = await asyncio.to_thread(model.chat.form, turn.conversation, prompt)
    if form is not None and calls is not None:
        raise InvalidParam(form.field, "cannot be combined with calls that must be made")
    generations = await start_choices(
        model,
        prompt,
        await ready_params(model, turn.params, form or calls),
        turn.num_choices,
        reproducible=turn.reproducible,
        field=turn.field,
        agent=turn.agent,
        use_cache=turn.use_cache,
        with_specials=True,
        priority=turn.priority,
    )
    allows_many = turn.conversation.tool_choice.parallel
    readers = [
        Reader(generation, model.chat.parser(turn.conversation, prompt), allows_many)
        for generation in generations
    ]
    return Answer(readers)


async def render(model: LoadedModel, conversation: Conversation, *, field: str) -> Prompt:
    """The prompt that answers it. Raises ApiError 400 with what the template has against it."""
    try:
        return await asyncio.to_thread(model.chat.render, conversation, datetime.now())
    except TemplateFailed as error:
        raise invalid(f"{field}: {error}", field) from None


class Answer:
    """Choices being written. Closing `pieces` before the end cancels them."""

    def __init__(self, readers: Sequence[Reader]) -> None:
        self._readers = readers

    @property
    def num_choices(self) -> int:
        return len(self._readers)

    @property
    def num_prompt_tokens(self) -> int:
        return self._readers[0].generation.num_prompt_tokens

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """As it is written. Raises ApiError when a choice fails or is cut off."""
        async with aclosing(self.arrivals()) as arrivals:
            async for pieces in arrivals:
                for piece in pieces:
                    yield piece

    async def arrivals(self) -> AsyncGenerator[list[Piece], None]:
        """The pieces that came together. What each of them says does not depend on that, or the
        same answer would not be the same bytes. Raises ApiError as `pieces`."""
        generations = [reader.generation for reader in self._readers]
        async with aclosing(read_choices(generations)) as choices:
            async for index, events in choices:
                reader, said = self._readers[index], list[Piece]()
                for event in events:
                    if isinstance(event, Failed):
                        yield said
                        raise failure(event)
                    said.append(reader.read(index, event))
                yield said

    async def whole(self) -> list[Choice]:
        """All of it. Raises ApiError when a choice fails or is cut off."""
        choices = [Choice() for _ in self._readers]
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                choice = choices[piece.index]
                choice.tokens += piece.tokens
                choice.text_tokens += piece.text_tokens
                choice.parts += piece.parts
                if piece.end is not None:
                    choice.end = piece.end
        for choice in choices:
            _gather(choice)
        return choices


class Reader:
    """One choice: events in, pieces out."""

    def __init__(
        self, generation: Generation, parser: AnswerParser, allows_many_calls: bool
    ) -> None:
        self.generation = generation
        self._parser = parser
        self._allows_many_calls = allows_many_calls
        self._num_calls = 0
        self._num_tokens = 0
        self._is_enough = False
        self._unread: list[TokenEvent] = []
        self._num_reasoning_tokens = 0

    def read(self, index: int, event: TokenEvent | Finished) -> Piece:
        """Raises ApiError."""
        if isinstance(event, TokenEvent):
            return self._read_token(index, event)
        end = self._ended(event)
        found: list[AnswerPart] = []
        if not self._is_enough:
            found = self._parser.feed(event.text) if event.text else []
            found = self._until_enough(found + self._parser.finish())
        text_tokens = self._attribute(found)
        return Piece(index, _merged(found), (), self._told(end), text_tokens)

    def _read_token(self, index: int, event: TokenEvent) -> Piece:
        """What is nearly always to be read: one token, and mostly text."""
        if self._is_enough:
            return Piece(index, (), ())
        found = self._parser.feed(event.text) if event.text else []
        self._num_tokens += 1
        if len(found) == 1 and type(found[0]) is TextPart and not self._unread:
            return Piece(index, found, (event,), None, (event,))
        self._unread.append(event)
        found = self._until_enough(found)
        text_tokens = self._attribute(found)
        parts = found if len(found) < 2 else _merged(found)
        return Piece(index, parts, (event,), None, text_tokens)

    def _attribute(self, found: Sequence[AnswerPart]) -> list[TokenEvent]:
        """Those of the tokens since the last part that were text."""
        if not found:
            return []
        tokens, self._unread = self._unread, []
        if isinstance(found[0], ReasoningPart):
            self._num_reasoning_tokens += len(tokens)
        return tokens if isinstance(found[0], TextPart) else []

    def _until_enough(self, parts: list[AnswerPart]) -> list[AnswerPart]:
        """Without what comes after the only call that there may be."""
        kept: list[AnswerPart] = []
        for part in parts:
            if self._is_enough:
                break
            kept.append(part)
            self._num_calls += isinstance(part, CallStart)
            if isinstance(part, CallEnd) and not self._allows_many_calls:
                self._is_enough = True
                self.generation.cancel()
        return kept

    def _ended(self, event: Finished) -> Ended:
        """What the engine says of it. Raises ApiError when it was not ended by us."""
        reason = event.reason
        if self._is_enough:
            reason = FinishReason.EOS
        elif reason is FinishReason.CANCELLED:
            raise cut_off(event)
        return Ended(reason, event.stop_string, event.timings, 0)

    def _told(self, end: Ended) -> Ended:
        """With what was counted here. Of what comes after the only call nobody hears, however
        much of it the engine wrote before it was stopped."""
        timings = end.timings
        if self._is_enough and end.reason is FinishReason.EOS:
            num_tokens = min(timings.completion_tokens, self._num_tokens)
            timings = replace(timings, completion_tokens=num_tokens)
        return replace(
            end,
            timings=timings,
            num_calls=self._num_calls,
            num_reasoning_tokens=self._num_reasoning_tokens,
        )


def _merged(parts: Sequence[AnswerPart]) -> list[AnswerPart]:
    """The same with neighbours of one kind as one part."""
    merged: list[AnswerPart] = []
    for part in parts:
        match (merged[-1] if merged else None, part):
            case (TextPart(before), TextPart(text)):
                merged[-1] = TextPart(before + text)
            case (ReasoningPart(before), ReasoningPart(text)):
                merged[-1] = ReasoningPart(before + text)
            case (CallArguments(index, before), CallArguments(same, text)) if index == same:
                merged[-1] = CallArguments(index, before + text)
            case _:
                merged.append(part)
    return merged


def _gather(choice: Choice) -> None:
    text, reasoning = [], []
    arguments: dict[int, list[str]] = {}
    starts: list[CallStart] = []
    for part in choice.parts:
        match part:
            case TextPart():
                text.append(part.text)
            case ReasoningPart():
                reasoning.append(part.text)
            case CallStart():
                starts.append(part)
                arguments[part.index] = []
            case CallArguments():
                arguments[part.index].append(part.text)
    choice.text, choice.reasoning = "".join(text), "".join(reasoning)
    choice.calls = [
        ToolCall(start.id, start.name, "".join(arguments[start.index])) for start in starts
    ]
