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


class UnknownAgent(LlorchError):
    """Nobody of that name was here, and nothing is kept of anybody so called."""

    code = "E_UNKNOWN_AGENT"

    def __init__(self, name: str) -> None:
        super().__init__(f'there is no agent "{name}"', agent=name)


class AgentExists(LlorchError):
    """The name is taken."""

    code = "E_AGENT_EXISTS"

    def __init__(self, name: str) -> None:
        super().__init__(f'there is an agent "{name}" already', agent=name)


class AgentBusy(LlorchError):
    """A request of the agent runs or waits, or its cache is on its way somewhere."""

    code = "E_AGENT_BUSY"

    def __init__(self, name: str) -> None:
        super().__init__(f'the agent "{name}" is busy', agent=name)


class NothingKept(LlorchError):
    """Of the agent no cache is left, or there is no room for one."""

    code = "E_NOTHING_KEPT"

    def __init__(self, name: str) -> None:
        super().__init__(f'no cache of the agent "{name}" is kept', agent=name)
