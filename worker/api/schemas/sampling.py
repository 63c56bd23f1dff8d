"""Sampling fields that all dialects spell alike, as llama-server does; ranges: SamplingParams."""

from __future__ import annotations

from typing import Any

from worker.api.body import Body
from worker.api.schemas.fields import LogitBias


class SamplerFields(Body):
    """None, or absence, leaves the default of SamplingParams."""

    typical_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_last_n: int | None = None
    dry_multiplier: float | None = None
    dry_base: float | None = None
    dry_allowed_length: int | None = None
    dry_penalty_last_n: int | None = None
    dry_sequence_breakers: tuple[str, ...] | None = None
    xtc_probability: float | None = None
    xtc_threshold: float | None = None
    mirostat: int | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    logit_bias: LogitBias = ()

    def sampler_options(self) -> dict[str, Any]:
        """Those that were given, as SamplingParams takes them."""
        values = {name: getattr(self, name) for name in SamplerFields.model_fields}
        return {name: value for name, value in values.items() if value is not None}
