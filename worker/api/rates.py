"""How much each caller, and all of them together, may ask for in a minute."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from worker.api.errors import ApiError
from worker.limits import Limits

HEADERS = tuple(
    f"x-ratelimit-{fact}-{what}"
    for what in ("requests", "tokens")
    for fact in ("limit", "remaining", "reset")
)

Clock = Callable[[], float]


class TokenBucket:
    """Holds at most `per_minute`, fills up at that rate, and may be overdrawn: what something
    costs is often known only afterwards. Until the debt is paid off there is nothing in it."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._level = float(per_minute)
        self._at = clock()

    @property
    def level(self) -> float:
        now = self._clock()
        self._level = min(self.per_minute, self._level + (now - self._at) * self.per_minute / 60)
        self._at = now
        return self._level

    def take(self, amount: float) -> None:
        self._level = self.level - amount

    def wait_s(self, amount: float) -> float:
        """Seconds until so much is in it."""
        return max(0.0, (amount - self.level) * 60 / self.per_minute)


@dataclass(frozen=True, slots=True)
class _Account:
    """What one caller may do, or all; None is without bounds."""

    requests: TokenBucket | None
    tokens: TokenBucket | None

    @classmethod
    def of(cls, requests: int, tokens: int, clock: Clock) -> _Account:
        return cls(
            TokenBucket(requests, clock) if requests else None,
            TokenBucket(tokens, clock) if tokens else None,
        )


class Rates:
    """The accounts of all callers. Lives in the event loop."""

    def __init__(self, limits: Limits, clock: Clock = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._all = _Account.of(limits.requests_per_minute, limits.tokens_per_minute, clock)
        self._each: dict[str, _Account] = {}
        self._in_flight: dict[str, int] = {}

    def enter(self, caller: str) -> None:
        """One more request of this caller's, which `leave` ends. Raises ApiError 429."""
        limit = self._limits.key_concurrency
        if limit and self._in_flight.get(caller, 0) >= limit:
            raise _refusal(f"this key has {limit} requests in flight, which is its limit", 1.0)
        for account in self._accounts(caller):
            if account.requests is not None and account.requests.level < 1:
                raise _refusal(
                    f"more than {account.requests.per_minute} requests a minute",
                    account.requests.wait_s(1),
                )
            if account.tokens is not None and account.tokens.level <= 0:
                raise _refusal(
                    f"more than {account.tokens.per_minute} tokens a minute",
                    account.tokens.wait_s(1),
                )
        for account in self._accounts(caller):
            if account.requests is not None:
                account.requests.take(1)
        self._in_flight[caller] = self._in_flight.get(caller, 0) + 1

    def leave(self, caller: str) -> None:
        self._in_flight[caller] -= 1
        if not self._in_flight[caller]:
            del self._in_flight[caller]

    def charge(self, caller: str, tokens: int) -> None:
        """For what was computed: the prompt and the answer."""
        for account in self._accounts(caller):
            if account.tokens is not None:
                account.tokens.take(tokens)

    def headers(self, caller: str) -> Iterator[tuple[str, str]]:
        """As OpenAI's API tells them, of whichever limit is nearer."""
        for what in ("requests", "tokens"):
            buckets = [getattr(account, what) for account in self._accounts(caller)]
            bounded = [bucket for bucket in buckets if bucket is not None]
            if bounded:
                nearest = min(bounded, key=lambda bucket: bucket.level)
                yield f"x-ratelimit-limit-{what}", str(nearest.per_minute)
                yield f"x-ratelimit-remaining-{what}", str(max(0, math.floor(nearest.level)))
                yield f"x-ratelimit-reset-{what}", f"{nearest.wait_s(nearest.per_minute):.3f}s"

    def _accounts(self, caller: str) -> tuple[_Account, _Account]:
        if caller not in self._each:
            limits = self._limits
            self._each[caller] = _Account.of(
                limits.key_requests_per_minute, limits.key_tokens_per_minute, self._clock
            )
        return self._all, self._each[caller]


def _refusal(message: str, wait_s: float) -> ApiError:
    return ApiError(
        429,
        "RATE_LIMITED",
        f"{message}; try again in {math.ceil(max(1.0, wait_s))} s",
        openai_code="rate_limit_exceeded",
        retry_after_s=math.ceil(wait_s),
    )
