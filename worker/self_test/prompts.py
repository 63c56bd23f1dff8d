"""Prompts of chosen lengths, in the model's own tokens."""

from __future__ import annotations

from worker.engine.runner import Vocab

# In tokens: around one block of 256 cells and up to several. Every second is reproducible.
LENGTHS = (5, 24, 257, 120, 520, 256, 300, 700)
LONG = 700  # of the prompt whose chunks get between the others' tokens
_SUBJECTS = ("river", "letter", "engine", "garden", "number", "window", "teacher", "island")
_VERBS = ("finds", "paints", "counts", "answers", "follows", "repairs", "describes", "forgets")


def make_prompt(vocab: Vocab, number: int, length: int) -> tuple[int, ...]:
    """`length` tokens of plain text that no other number's prompt shares but for BOS."""
    sentences = length // 8 + 1
    while True:
        text = " ".join(_sentence(number, at) for at in range(sentences))
        tokens = vocab.tokenize(text, add_special=True, parse_special=False)
        if len(tokens) >= length:
            return tuple(tokens[:length])
        sentences = 2 * sentences * max(1, length // max(1, len(tokens)))


def _sentence(number: int, at: int) -> str:
    one = _SUBJECTS[(number + at) % len(_SUBJECTS)]
    two = _SUBJECTS[(3 * number + 5 * at + 1) % len(_SUBJECTS)]
    verb = _VERBS[(number * at + at // 8) % len(_VERBS)]
    return f"{number * 37 + at}. The {one} {verb} the {two}, and the {two} waits."
