"""A sequence's state, taken out of the context."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The KV state of `tokens`, all of which were computed.

    `key` names what it belongs to; a later snapshot with the same key replaces it. `agent` is
    whose it is, if anybody's. An `exact` one was computed on fixed boundaries from position 0 in a
    context of its own, whole blocks only, so that reproducible requests may build upon it.
    """

    key: str
    tokens: Tokens
    state: bytes
    agent: str | None = None
    exact: bool = False

    @property
    def num_bytes(self) -> int:
        return len(self.state) + self.tokens.nbytes


def common_length(a: Tokens, b: Tokens) -> int:
    """How many tokens the two begin with in common."""
    size = min(len(a), len(b))
    differ = np.flatnonzero(a[:size] != b[:size])
    return int(differ[0]) if len(differ) else size
