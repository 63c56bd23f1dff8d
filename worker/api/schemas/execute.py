"""`POST /execute` and `POST /cancel`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from worker.api.body import Body
from worker.api.schemas.fields import StopStrings
from worker.engine.params import SamplingParams

JobId = Annotated[str, Field(min_length=1, max_length=128)]


class ExecuteRequest(Body):
    """A raw prompt and how to continue it. Ranges of the sampling fields: SamplingParams."""

    job_id: JobId
    prompt: str = Field(min_length=1)
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
    metrics: bool = False
    reproducible: bool = True

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
        )


class CancelRequest(Body):
    job_id: JobId
