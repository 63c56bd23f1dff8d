"""A sequence's state, taken out of the context."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]

MAX_TAIL = 64  # tokens


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The KV state of `tokens`, all of which were computed.

    `key` names what it belongs to; a later snapshot with the same key replaces it. `agent` is
    whose it is, if anybody's. An `exact` one was computed on fixed boundaries from position 0 in a
    context of its own, whole blocks only, so that reproducible requests may build upon it. `tail`
    is what the agent's text goes on with beyond them, not computed yet: `MAX_TAIL`
    tokens at most.
    """

    key: str
    tokens: Tokens
    state: bytes
    agent: str | None = None
    exact: bool = False
    tail: tuple[int, ...] = ()

    @property
    def num_bytes(self) -> int:
        return len(self.state) + self.tokens.nbytes


def agent_key(name: str) -> str:
    """The key of what an agent's last turn left."""
    return f"agent/{name}"


def common_length(a: Tokens, b: Tokens) -> int:
    """How many tokens the two begin with in common."""
    size = min(len(a), len(b))
    differ = np.flatnonzero(a[:size] != b[:size])
    return int(differ[0]) if len(differ) else size


def tail_of(tokens: list[int], length: int) -> tuple[int, ...]:
    """What a text goes on with beyond what is computed; nothing when it broke off long before its
    end."""
    return tuple(tokens[length:]) if len(tokens) - length <= MAX_TAIL else ()
