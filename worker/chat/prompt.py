"""From a finished text to the tokens the model is given."""

from __future__ import annotations

from worker.engine.runner import Vocab


def encode_prompt(vocab: Vocab, text: str) -> tuple[int, ...]:
    """Control tokens written in the text are read as such; it gets a BOS unless it has its own.

    Chat templates differ in whether they write the BOS, and two of them would shift every answer.
    May take seconds for megabytes: call it off the event loop.
    """
    has_bos = bool(vocab.bos_token) and text.startswith(vocab.bos_token)
    return tuple(vocab.tokenize(text, add_special=not has_bos, parse_special=True))
