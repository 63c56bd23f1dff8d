"""What the engine says about a request. Each request ends in exactly one Finished or Failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class FinishReason(StrEnum):
    """Why a generation ended. `STOP_STRING` is one of the request's own stop strings."""

    EOS = "EOS"
    STOP_STRING = "STOP_STRING"
    LENGTH = "LENGTH"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class TopLogprob:
    token_id: int
    raw: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One sampled token.

    `text` is what became printable with it: "" while a character or a possible stop string is
    incomplete, several tokens' text when it completes. `raw` is the token's own bytes. `logprob`
    (natural log, of the unpenalised distribution at temperature 1) is None unless asked for.
    """

    request_id: str
    index: int
    token_id: int
    text: str
    raw: bytes = b""
    logprob: float | None = None
    top_logprobs: tuple[TopLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Timings:
    """Clock values of one request, in seconds, and what was computed for it.

    Of the prompt, `cached_tokens` were not computed again, and of these `restored_tokens` came
    from outside the context. `accepted` of the `drafted` tokens were right.
    """

    queued_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    restored_tokens: int = 0
    drafted: int = 0
    accepted: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """Terminal. `text` is what was still held back when the generation ended."""

    request_id: str
    reason: FinishReason
    text: str = ""
    stop_string: str | None = None
    timings: Timings = field(default_factory=Timings)


@dataclass(frozen=True, slots=True)
class Failed:
    """Terminal. `retriable` says whether the same request may work later."""

    request_id: str
    code: str
    message: str
    retriable: bool = False


EngineEvent = TokenEvent | Finished | Failed
