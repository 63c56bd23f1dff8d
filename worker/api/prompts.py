"""From what a client sends as prompts to what the model is given."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from worker.api.errors import invalid
from worker.api.generate import read_prompt, too_long
from worker.api.schemas.prompts import Prompt
from worker.api.service import LoadedModel
from worker.engine.runner import Vocab


@dataclass(frozen=True, slots=True)
class ReadPrompt:
    """`text` is what the client wrote, or what its tokens say."""

    text: str
    tokens: tuple[int, ...]


async def read_prompts(
    model: LoadedModel, prompts: Sequence[Prompt], *, field: str, limit: int
) -> list[ReadPrompt]:
    """Raises ApiError 400; `limit` is in tokens, for each."""
    read = []
    for index, prompt in enumerate(prompts):
        name = field if len(prompts) == 1 else f"{field}.{index}"
        if isinstance(prompt, str):
            one = ReadPrompt(prompt, await read_prompt(model, prompt, field=name))
        else:
            _check_tokens(model.vocab, prompt, name)
            one = ReadPrompt(text_of(model.vocab, prompt), prompt)
        if len(one.tokens) > limit:
            raise too_long(name, len(one.tokens), limit)
        read.append(one)
    return read


async def read_gap(model: LoadedModel, before: str, after: str, *, limit: int) -> tuple[int, ...]:
    """What asks for the text between two others. Raises ApiError 400."""
    marks = model.vocab.fill_ids
    if marks is None:
        raise invalid("suffix: this model was not trained to fill gaps", "suffix")
    begins, ends = await asyncio.to_thread(_plain_tokens, model.vocab, (before, after))
    bos = model.vocab.tokenize("", add_special=True, parse_special=False)[:1]
    tokens = (*bos, marks[0], *begins, marks[1], *ends, marks[2])
    if len(tokens) > limit:
        raise too_long("prompt", len(tokens), limit)
    return tokens


def text_of(vocab: Vocab, tokens: Sequence[int]) -> str:
    """Control tokens by their names; bytes that are no characters as replacement characters."""
    return b"".join([vocab.token_bytes(token, special=True) for token in tokens]).decode(
        errors="replace"
    )


def _plain_tokens(vocab: Vocab, texts: Sequence[str]) -> list[list[int]]:
    return [vocab.tokenize(text, add_special=False, parse_special=False) for text in texts]


def _check_tokens(vocab: Vocab, tokens: Sequence[int], field: str) -> None:
    for token in tokens:
        if token >= vocab.size:
            reason = f"names token {token}, of which the model has only {vocab.size}"
            raise invalid(f"{field} {reason}", field)
