"""What OpenAI's two routes for generation have in common, with llama-server's extensions."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import Field

from worker.api.body import LenientBody
from worker.api.schemas.fields import StopStrings
from worker.api.schemas.form import ResponseFormat, grammar_form, only_form
from worker.api.schemas.sampling import SamplerFields
from worker.engine.constraint import ConstraintSpec
from worker.engine.params import InvalidParam, SamplingParams

MAX_CHOICES = 16
_MAX_PRIORITY = 1 << 31

_OTHER_SPELLINGS = {
    "max_tokens": ("max_completion_tokens",),
    "logprobs": ("top_logprobs",),
    "repetition_penalty": ("repeat_penalty",),
}

N = TypeVar("N", int, float)


def first(*values: N | None, default: N) -> N:
    """The first value that was given."""
    return next((value for value in values if value is not None), default)


class StreamOptions(LenientBody):
    include_usage: bool | None = None


class OpenAISampling(SamplerFields, LenientBody):
    """None, or absence, means what OpenAI documents as the default. `priority`: of the requests
    that wait, the higher goes first."""

    model: str = Field(min_length=1)
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    stop: StopStrings = []
    seed: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None

    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    repeat_penalty: float | None = None
    ignore_eos: bool | None = None
    grammar: str | None = None
    reproducible: bool | None = None
    session_id: str | None = None
    cache_prompt: bool | None = None
    priority: Annotated[int, Field(ge=-_MAX_PRIORITY, le=_MAX_PRIORITY)] | None = None

    def sampling_params(self, max_tokens: int, logprobs: int | None) -> SamplingParams:
        """Raises InvalidParam, naming the field as this request spells it."""
        if self.stream_options is not None and not self.stream:
            raise InvalidParam("stream_options", "needs stream to be true")
        try:
            return SamplingParams(
                max_tokens=max_tokens,
                temperature=first(self.temperature, default=1.0),
                seed=self.seed,
                top_p=first(self.top_p, default=1.0),
                top_k=first(self.top_k, default=0),
                min_p=first(self.min_p, default=0.0),
                repetition_penalty=first(self.repeat_penalty, self.repetition_penalty, default=1.0),
                stop=tuple(self.stop),
                logprobs=logprobs,
                ignore_eos=bool(self.ignore_eos),
                **self.sampler_options(),
            )
        except InvalidParam as error:
            raise InvalidParam(self._spelling(error.field), error.reason) from None

    def check_length(self, params: SamplingParams, context: int) -> None:
        """Raises InvalidParam when the client wants more tokens than a context of so many holds.
        What fits by itself, though not beside the prompt, ends where the context does."""
        field = self._spelling("max_tokens")
        if getattr(self, field) is not None and params.max_tokens > context:
            reason = f"is {params.max_tokens}; this worker's context holds {context} tokens"
            raise InvalidParam(field, reason)

    def form(self) -> ConstraintSpec | None:
        """What the answer must look like. Raises InvalidParam."""
        wanted = None if self.response_format is None else self.response_format.form()
        return only_form([wanted, grammar_form(self.grammar)])

    @property
    def num_choices(self) -> int:
        return first(self.n, default=1)

    @property
    def uses_cache(self) -> bool:
        return self.cache_prompt is not False

    @property
    def is_reproducible(self) -> bool:
        """Whoever gives a seed wants the same answer again."""
        return self.seed is not None if self.reproducible is None else self.reproducible

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def _spelling(self, field: str) -> str:
        """What the client called one of our sampling parameters."""
        names = (field, *_OTHER_SPELLINGS.get(field, ()))
        return next((name for name in reversed(names) if name in self.model_fields_set), field)
