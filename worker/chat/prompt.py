"""From a finished text to the tokens the model is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker.chat.control_tokens import Segment
from worker.engine.runner import Vocab


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation in the model's own words. `opens_reasoning`: the answer begins inside the
    model's thoughts. `segments`, where there are any, are all of the text, and say which pieces of
    it somebody else wrote so that they look like the template's."""

    text: str
    opens_reasoning: bool = False
    segments: tuple[Segment, ...] = ()


def encode_prompt(vocab: Vocab, prompt: Prompt | str) -> tuple[int, ...]:
    """Control tokens written in the text are read as such, but in segments that are plain; it gets
    a BOS unless it has its own.

    Chat templates differ in whether they write the BOS, and two of them would shift every answer.
    May take seconds for megabytes: call it off the event loop.
    """
    if isinstance(prompt, Prompt) and prompt.segments:
        return _encode_segments(vocab, prompt.segments)
    text = prompt if isinstance(prompt, str) else prompt.text
    has_bos = bool(vocab.bos_token) and text.startswith(vocab.bos_token)
    return tuple(vocab.tokenize(text, add_special=not has_bos, parse_special=True))


def _encode_segments(vocab: Vocab, segments: Sequence[Segment]) -> tuple[int, ...]:
    tokens: list[int] = []
    first = segments[0]
    has_bos = not first.is_plain and first.text.startswith(vocab.bos_token or "\0")
    if not has_bos:
        tokens += vocab.tokenize("", add_special=True, parse_special=False)[:1]
        if tokens != [vocab.bos_id]:  # of an empty text also what some models put at its end
            tokens = []
    for text, is_plain in segments:
        tokens += vocab.tokenize(text, add_special=False, parse_special=not is_plain)
    return tuple(tokens)
