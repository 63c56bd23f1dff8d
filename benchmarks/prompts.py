"""Prompts of an exact length that no two requests share."""

from __future__ import annotations

import random
import string

WORDS_100 = 130
"""Tokens of 100 English words with a usual vocabulary."""


def make_text(tokens: int, *seed: object) -> str:
    """So many lower-case letters: in the random models and the reference models one token each.

    Two texts with different seeds differ within their first tokens. The model adds one or two
    tokens of its own in front.
    """
    rng = random.Random("/".join(map(str, seed)))
    return "".join(rng.choices(string.ascii_lowercase, k=tokens))
