"""`POST /execute` and `POST /cancel`."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field

from worker.api.body import Body
from worker.api.schemas.fields import StopStrings
from worker.api.schemas.form import grammar_form, only_form
from worker.api.schemas.sampling import SamplerFields
from worker.engine.constraint import ConstraintKind, ConstraintSpec
from worker.engine.params import SamplingParams

JobId = Annotated[str, Field(min_length=1, max_length=128)]


class NativeSampling(SamplerFields):
    """How to go on, in llorch's own words. Ranges: SamplingParams."""

    max_tokens: int = 512
    temperature: float = 0.0
    seed: int | None = None
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: StopStrings = []
    logprobs: int | None = None
    ignore_eos: bool = False
    json_schema: dict[str, Any] | None = None
    grammar: str | None = None
    regex: str | None = None
    metrics: bool = False

    def sampling(self) -> SamplingParams:
        """Raises InvalidParam."""
        return SamplingParams(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=self.seed,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            stop=tuple(self.stop),
            logprobs=self.logprobs,
            ignore_eos=self.ignore_eos,
            **self.sampler_options(),
        )

    def form(self) -> ConstraintSpec | None:
        """What the answer must look like. Raises InvalidParam."""
        forms = [grammar_form(self.grammar)]
        if self.json_schema is not None:
            schema = json.dumps(self.json_schema)
            forms.append(ConstraintSpec(ConstraintKind.JSON_SCHEMA, schema, "json_schema"))
        if self.regex is not None:
            forms.append(ConstraintSpec(ConstraintKind.REGEX, self.regex, "regex"))
        return only_form(forms)


class ExecuteRequest(NativeSampling):
    """A raw prompt and how to continue it."""

    job_id: JobId
    prompt: str = Field(min_length=1)
    reproducible: bool = True
    agent: str | None = None
    cache_prompt: bool = True


class CancelRequest(Body):
    job_id: JobId
