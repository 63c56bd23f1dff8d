"""Do two backends say the same, token by token, and are they equally sure of it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from llorch_ctl.matrix.checks import quote
from llorch_ctl.matrix.trace import Token

_CONTEXT_TOKENS = 8


class Kind(StrEnum):
    """How two positions differ. A `tie` is another token that both sides hold as likely."""

    TOKEN = "token"
    LENGTH = "length"
    LOGPROB = "logprob"
    MISSING = "missing"
    TIE = "tie"


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first position that differs; a None token is the end of an answer."""

    kind: Kind
    position: int
    expected: Token | None
    got: Token | None
    delta: float | None
    context: str

    def __str__(self) -> str:
        here = f"token {self.position}: {_show(self.got)}, expected {_show(self.expected)}"
        delta = "" if self.delta is None else f" (Δ {self.delta:.4f})"
        return f"{here}{delta} after {quote(self.context)}"


def _show(token: Token | None) -> str:
    if token is None:
        return "the end"
    sure = "" if token.logprob is None else f" at {token.logprob:.4f}"
    return f"{quote(token.text) if token.text.strip() else repr(token.text)}{sure}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`num_tokens` positions were compared; `max_delta` is the largest |Δ log-probability|."""

    num_tokens: int
    max_delta: float
    divergence: Divergence | None = None

    @property
    def is_equal(self) -> bool:
        return self.divergence is None or self.divergence.kind is Kind.TIE


def compare(
    expected: Sequence[Token], got: Sequence[Token], tolerance: float, limit: int
) -> Comparison:
    """Compare up to `limit` tokens, up to the first that diverges.

    A different token is a tie, and no fault, where both sides gave both tokens log-probabilities
    within `tolerance` of each other; what follows it is another text and is not compared.
    """
    largest = 0.0
    for position in range(min(max(len(expected), len(got)), limit)):
        old = expected[position] if position < len(expected) else None
        new = got[position] if position < len(got) else None
        kind, delta = _differ(old, new, tolerance)
        largest = max(largest, delta or 0.0)
        if kind is not None:
            context = "".join(t.text for t in got[max(0, position - _CONTEXT_TOKENS) : position])
            found = Divergence(kind, position, old, new, delta, context)
            return Comparison(position + 1, largest, found)
    return Comparison(min(len(expected), len(got), limit), largest)


def _differ(
    old: Token | None, new: Token | None, tolerance: float
) -> tuple[Kind | None, float | None]:
    """How the two differ, if they do, and by how much the log-probabilities differ."""
    if old is None or new is None:
        return Kind.LENGTH, None
    deltas = [_delta(old, new, name) for name in dict.fromkeys((old.name, new.name))]
    known = [delta for delta in deltas if delta is not None]
    worst = max(known, default=None)
    is_close = len(known) == len(deltas) and max(known) <= tolerance
    if old.name != new.name:
        return (Kind.TIE if is_close else Kind.TOKEN), worst
    if worst is None:
        return Kind.MISSING, None
    return (None if is_close else Kind.LOGPROB), worst


def _delta(old: Token, new: Token, name: str) -> float | None:
    before, after = old.logprob_of(name), new.logprob_of(name)
    return None if before is None or after is None else abs(before - after)
