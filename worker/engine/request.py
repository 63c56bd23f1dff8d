"""What the APIs hand to the engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.engine.params import SamplingParams


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One generation: a tokenised prompt and how to continue it.

    A `reproducible` request prefills on fixed boundaries from position 0, so that it gives the same
    bytes alone, repeated, and in a crowd. `request_id` is unique among the requests in flight.
    Requests of one `agent` run one at a time, in order, and its cache outlives them and the worker.
    Without `use_cache` every token is computed, and nothing is kept. `with_specials` has the text
    show control tokens by their names, but for those that end it. Of those that wait, the higher
    `priority` goes first. With `prefill_only` the prompt is computed and nothing generated: it
    ends with LENGTH.
    """

    request_id: str
    prompt: tuple[int, ...]
    params: SamplingParams = field(default_factory=SamplingParams)
    reproducible: bool = False
    agent: str | None = None
    use_cache: bool = True
    with_specials: bool = False
    priority: int = 0
    prefill_only: bool = False
