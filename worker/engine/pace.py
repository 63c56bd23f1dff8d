"""How fast prompts are computed, so that those who stream hardly notice them."""

from __future__ import annotations

from worker.engine.batch import Batch

_STEP_S = 1.0  # a step that computes prompts beside others' tokens takes no longer than this
_SMOOTHING = 0.2
_ENOUGH = 32  # prompt tokens that make a step's time theirs


class Pace:
    """Learns seconds for a prompt token from the steps that had many."""

    def __init__(self) -> None:
        self._seconds_per_token: float | None = None

    def note(self, batch: Batch, seconds: float) -> None:
        tokens = sum(len(item.tokens) for item in batch.items if len(item.tokens) >= _ENOUGH)
        if tokens < _ENOUGH:
            return
        rate = seconds / batch.num_tokens
        if self._seconds_per_token is None:
            self._seconds_per_token = rate
        self._seconds_per_token += _SMOOTHING * (rate - self._seconds_per_token)

    @property
    def prompt_tokens(self) -> int | None:
        """How many may be computed in a step while others stream; None as long as unknown."""
        if not self._seconds_per_token:
            return None
        return int(_STEP_S / self._seconds_per_token)
