"""What a request may ask of sampling, validated once and shared by every API."""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_STOP_STRINGS = 4
MAX_TOP_LOGPROBS = 20


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
    `min_p` 0 and `repetition_penalty` 1 switch those filters off. `logprobs` None asks for none,
    N for the chosen token's log-probability and the N likeliest others.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    seed: int | None = None
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        _within("max_tokens", self.max_tokens, 1, 1 << 30)
        _within("temperature", self.temperature, 0.0, 2.0)
        _within("top_p", self.top_p, 0.0, 1.0)
        _within("top_k", self.top_k, 0, 1 << 20)
        _within("min_p", self.min_p, 0.0, 1.0)
        _within("presence_penalty", self.presence_penalty, -2.0, 2.0)
        _within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        if not 0.0 < self.repetition_penalty <= 10.0:
            raise InvalidParam("repetition_penalty", "must be above 0 and at most 10")
        if self.seed is not None:
            _within("seed", self.seed, -(1 << 63), (1 << 64) - 1)
        if self.logprobs is not None:
            _within("logprobs", self.logprobs, 0, MAX_TOP_LOGPROBS)
        if len(self.stop) > MAX_STOP_STRINGS:
            raise InvalidParam("stop", f"at most {MAX_STOP_STRINGS} stop strings")
        if any(not text for text in self.stop):
            raise InvalidParam("stop", "a stop string must not be empty")


def _within(field: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise InvalidParam(field, f"must be between {low:g} and {high:g}, got {value:g}")
