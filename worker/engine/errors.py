"""Why the engine does not take a request. Raised before its first event."""

from __future__ import annotations

from pool_core.errors import LlorchError


class EngineBusy(LlorchError):
    """Everyone it may queue is queued; try again after `retry_after_s` seconds."""

    code = "E_BUSY"

    def __init__(self, in_flight: int, retry_after_s: int) -> None:
        super().__init__(
            f"{in_flight} requests are running or waiting",
            f"try again in {retry_after_s} s",
            retry_after_s=retry_after_s,
        )
        self.retry_after_s = retry_after_s


class PromptTooLong(LlorchError):
    """The prompt leaves no room for an answer."""

    code = "E_PROMPT_TOO_LONG"

    def __init__(self, tokens: int, limit: int) -> None:
        super().__init__(
            f"the prompt has {tokens} tokens, at most {limit} fit",
            "shorten it, or start the worker with a larger --ctx",
            tokens=tokens,
            limit=limit,
        )
        self.tokens = tokens
        self.limit = limit


class EngineStopped(LlorchError):
    """The engine is stopping or has stopped; nothing new is taken."""

    code = "E_STOPPED"

    def __init__(self) -> None:
        super().__init__("the worker is stopping", "send the request to another worker")
