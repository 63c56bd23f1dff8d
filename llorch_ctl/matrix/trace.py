"""What a worker answered: its tokens, and how sure it was of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Token:
    """One token. `id` is None where the API does not tell it; `logprob` is a natural logarithm.

    `likeliest` holds log-probabilities of the best candidates, by the token's own `name`.
    """

    text: str
    id: int | None = None
    logprob: float | None = None
    likeliest: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What two backends are compared by: the id, or the text where there is no id."""
        return self.text if self.id is None else str(self.id)

    def logprob_of(self, name: str) -> float | None:
        """The log-probability that this position gave to the token `name`, if it is known."""
        return self.logprob if name == self.name else self.likeliest.get(name)

    def to_list(self) -> list[Any]:
        return [self.text, self.id, self.logprob, dict(self.likeliest)]

    @classmethod
    def from_list(cls, values: list[Any]) -> Token:
        text, id_, logprob, likeliest = values
        return cls(text, id_, logprob, likeliest)


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished generation. `body` is what went over the wire, for byte comparison.

    `first_token_s` is measured by the client from sending the request; `metrics` is the worker's
    account.
    """

    text: str
    tokens: tuple[Token, ...] = ()
    stop_reason: str = ""
    body: bytes = b""
    first_token_s: float = 0.0
    metrics: Mapping[str, Any] = field(default_factory=dict)
