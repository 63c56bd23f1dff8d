"""What the APIs hand to the engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.engine.params import SamplingParams


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One generation: a tokenised prompt and how to continue it.

    A `reproducible` request prefills on fixed boundaries from position 0, so that it gives the same
    bytes alone, repeated, and in a crowd. `request_id` is unique among the requests in flight.
    """

    request_id: str
    prompt: tuple[int, ...]
    params: SamplingParams = field(default_factory=SamplingParams)
    reproducible: bool = False
