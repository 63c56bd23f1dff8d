"""`POST /v1/responses`: fields are honoured, accepted as harmless, or refused by name."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from worker.api.body import LenientBody
from worker.api.schemas.fields import Priority, StopStrings
from worker.api.schemas.form import grammar_form, only_form
from worker.api.schemas.openai_tools import MAX_TOOLS, Schema
from worker.api.schemas.responses_input import Input
from worker.api.schemas.responses_tools import AnyChoice, AnyTool
from worker.api.schemas.sampling import SamplerFields
from worker.engine.constraint import ConstraintKind, ConstraintSpec
from worker.engine.params import InvalidParam, SamplingParams

_OTHER_SPELLINGS = {
    "max_tokens": ("max_output_tokens",),
    "logprobs": ("top_logprobs",),
    "repetition_penalty": ("repeat_penalty",),
}


def _nothing_stored(value: Any) -> None:
    if value is not None:
        raise ValueError("is not supported: nothing is stored here; send all of it in input")


def _not_supported(value: Any) -> None:
    if value not in (None, False):
        raise ValueError("is not supported by this worker")


Stored = Annotated[Any, AfterValidator(_nothing_stored)]
Unsupported = Annotated[Any, AfterValidator(_not_supported)]


class TextFormat(LenientBody):
    """`strict` asks that nothing of the schema be left out; else what cannot be kept is skipped."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema_: Schema | None = Field(None, alias="schema")
    strict: bool | None = None

    def form(self) -> ConstraintSpec | None:
        """Raises InvalidParam."""
        if self.type == "json_object":
            return ConstraintSpec(ConstraintKind.JSON_SCHEMA, '{"type":"object"}', "text.format")
        if self.type == "text":
            return None
        if self.schema_ is None:
            raise InvalidParam("text.format.schema", "is required")
        kind = ConstraintKind.JSON_SCHEMA if self.strict else ConstraintKind.BEST_EFFORT_SCHEMA
        return ConstraintSpec(kind, json.dumps(self.schema_), "text.format.schema")


class TextOptions(LenientBody):
    format: TextFormat | None = None
    verbosity: str | None = None


class ReasoningOptions(LenientBody):
    """The summary that may be asked for is not written: the thoughts themselves are sent."""

    effort: str | None = None
    summary: str | None = None


class ResponsesRequest(SamplerFields, LenientBody):
    """OpenAI's request plus the extensions that clients of local servers send."""

    model: str = Field(min_length=1)
    input: Input
    instructions: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    stream: bool | None = None
    tools: Annotated[list[AnyTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: AnyChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    include: list[str] | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    # There is never anything to store, and what does not fit is refused, never cut.
    store: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None

    seed: int | None = None
    stop: StopStrings = []
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    repeat_penalty: float | None = None
    ignore_eos: bool | None = None
    grammar: str | None = None
    reproducible: bool | None = None
    session_id: str | None = None
    cache_prompt: bool | None = None
    priority: Priority | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    previous_response_id: Stored = None
    conversation: Stored = None
    prompt: Stored = None
    background: Unsupported = None

    def sampling(self, default_max_tokens: int) -> SamplingParams:
        """Raises InvalidParam, naming the field as this request spells it."""
        given = {
            "max_tokens": self.max_output_tokens,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "temperature": self.temperature,
        }
        if self.repeat_penalty is not None:
            given["repetition_penalty"] = self.repeat_penalty
        options: dict[str, Any] = {"max_tokens": default_max_tokens, "temperature": 1.0}
        options |= {name: value for name, value in given.items() if value is not None}
        try:
            return SamplingParams(
                seed=self.seed,
                stop=tuple(self.stop),
                logprobs=(self.top_logprobs or 0) if self.wants_logprobs else None,
                ignore_eos=bool(self.ignore_eos),
                **options,
                **self.sampler_options(),
            )
        except InvalidParam as error:
            raise InvalidParam(self._spelling(error.field), error.reason) from None

    def _spelling(self, field: str) -> str:
        """What the client called one of our sampling parameters."""
        names = (field, *_OTHER_SPELLINGS.get(field, ()))
        return next((name for name in reversed(names) if name in self.model_fields_set), field)

    def form(self) -> ConstraintSpec | None:
        """What the answer must look like. Raises InvalidParam."""
        format = None if self.text is None else self.text.format
        return only_form([None if format is None else format.form(), grammar_form(self.grammar)])

    def template_variables(self) -> dict[str, Any]:
        effort = None if self.reasoning is None else self.reasoning.effort
        variables: dict[str, Any] = {}
        if effort is not None:
            variables["enable_thinking"] = effort != "none"
            if effort != "none":
                variables["reasoning_effort"] = effort
        return variables | (self.chat_template_kwargs or {})

    @property
    def wants_logprobs(self) -> bool:
        return bool(self.top_logprobs) or "message.output_text.logprobs" in (self.include or ())

    @property
    def wants_sealed_thoughts(self) -> bool:
        return "reasoning.encrypted_content" in (self.include or ())

    @property
    def allows_many_calls(self) -> bool:
        return self.parallel_tool_calls is not False

    @property
    def uses_cache(self) -> bool:
        return self.cache_prompt is not False

    @property
    def is_reproducible(self) -> bool:
        """Whoever gives a seed wants the same answer again."""
        return self.seed is not None if self.reproducible is None else self.reproducible
