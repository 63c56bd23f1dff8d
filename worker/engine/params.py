"""What a request may ask of sampling, validated once and shared by every API."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from worker.engine.constraint import Constraint

MAX_STOP_STRINGS = 4
MAX_TOP_LOGPROBS = 20
MAX_LOGIT_BIASES = 4096
MAX_DRY_BREAKERS = 64

_RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "max_tokens": (1, 1 << 30),
        "temperature": (0.0, 2.0),
        "seed": (-(1 << 63), (1 << 64) - 1),
        "top_p": (0.0, 1.0),
        "top_k": (0, 1 << 20),
        "min_p": (0.0, 1.0),
        "typical_p": (0.0, 1.0),
        "presence_penalty": (-2.0, 2.0),
        "frequency_penalty": (-2.0, 2.0),
        "repeat_last_n": (-1, 1 << 30),
        "dry_multiplier": (0.0, 100.0),
        "dry_base": (1.0, 100.0),
        "dry_allowed_length": (0, 1 << 30),
        "dry_penalty_last_n": (-1, 1 << 30),
        "xtc_probability": (0.0, 1.0),
        "xtc_threshold": (0.0, 1.0),
        "mirostat": (0, 2),
        "mirostat_tau": (0.0, 100.0),
        "mirostat_eta": (0.0, 1.0),
        "logprobs": (0, MAX_TOP_LOGPROBS),
    }
)


class InvalidParam(ValueError):
    """A field of a request is out of its range; `reason` says what is allowed."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to choose tokens, and when to stop. Defaults are greedy.

    temperature 0 is an argmax, whatever else is set. `seed` None draws one. `top_k` 0, `top_p` 1,
    `min_p` 0, `typical_p` 1, `repetition_penalty` 1, `dry_multiplier` 0, `xtc_probability` 0 and
    `mirostat` 0 switch those off. Mirostat replaces the filters from top_k to XTC.

    `repeat_last_n` None: the repetition penalty looks at the prompt and the answer, presence and
    frequency at the answer only. A number: all three look at that many of the last tokens of both
    together, -1 at all of them.

    `logit_bias` holds (token, what is added to its logit); -inf bans the token. `logprobs` None
    asks for none, N for the chosen token's log-probability and the N likeliest others.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    seed: int | None = None
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_last_n: int | None = None
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = 64
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    logit_bias: tuple[tuple[int, float], ...] = ()
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    ignore_eos: bool = False
    constraint: Constraint | None = None

    def __post_init__(self) -> None:
        for field, (low, high) in _RANGES.items():
            value = getattr(self, field)
            if value is not None:
                _within(field, value, low, high)
        if not 0.0 < self.repetition_penalty <= 10.0:
            raise InvalidParam("repetition_penalty", "must be above 0 and at most 10")
        _texts("stop", self.stop, MAX_STOP_STRINGS)
        _texts("dry_sequence_breakers", self.dry_sequence_breakers, MAX_DRY_BREAKERS)
        if len(self.logit_bias) > MAX_LOGIT_BIASES:
            raise InvalidParam("logit_bias", f"holds at most {MAX_LOGIT_BIASES} tokens")
        if any(not bias < math.inf for _, bias in self.logit_bias):
            raise InvalidParam("logit_bias", "must give each token a finite number")
        if self.constraint is not None and self.ignore_eos:
            raise InvalidParam("ignore_eos", "cannot be combined with a form")

    def check_tokens(self, vocab_size: int) -> None:
        """Raises InvalidParam unless all tokens that are named exist."""
        for token, _ in self.logit_bias:
            if not 0 <= token < vocab_size:
                reason = f"names token {token}, of which the model has only {vocab_size}"
                raise InvalidParam("logit_bias", reason)


def _within(field: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise InvalidParam(field, f"must be between {low:g} and {high:g}, got {value:g}")


def _texts(field: str, texts: tuple[str, ...], limit: int) -> None:
    if len(texts) > limit:
        raise InvalidParam(field, f"holds at most {limit} strings")
    if not all(texts):
        raise InvalidParam(field, "must not hold an empty string")
