"""What an agent is given to read: a whole conversation, or more of its own text."""

from __future__ import annotations

import asyncio

from worker.api.errors import invalid
from worker.api.generate import read_prompt
from worker.api.service import LoadedModel
from worker.api.turn import render
from worker.chat.messages import Conversation
from worker.engine.runner import Vocab

_MARK = "\n"  # a token of its own that joins with nothing behind it


async def read_conversation(model: LoadedModel, conversation: Conversation) -> tuple[int, ...]:
    """In the model's own words, up to where the answer begins. Raises ApiError 400."""
    prompt = await render(model, conversation, field="messages")
    return await read_prompt(model, prompt, field="messages")


async def read_continuation(
    model: LoadedModel, text: tuple[int, ...], prompt: str
) -> tuple[int, ...]:
    """The agent's text so far and more of it; alone, the prompt is a beginning.

    Raises ApiError 400 when there is neither.
    """
    if not text:
        if not prompt:
            raise invalid("prompt is required: the agent has no text to go on from", "prompt")
        return await read_prompt(model, prompt, field="prompt")
    return text + await asyncio.to_thread(encode_more, model.vocab, prompt)


def encode_more(vocab: Vocab, text: str) -> tuple[int, ...]:
    """Tokens of a text that stands in the middle: SentencePiece would begin it with a space."""

    def encode(text: str) -> list[int]:
        return vocab.tokenize(text, add_special=False, parse_special=True)

    if not text:
        return ()
    if vocab.kind == "spm":
        mark, marked = encode(_MARK), encode(_MARK + text)
        if marked[: len(mark)] == mark:
            return tuple(marked[len(mark) :])
    return tuple(encode(text))
