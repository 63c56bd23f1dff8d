"""`POST /v1/chat/completions`: fields are honoured, accepted as harmless, or refused by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from worker.api.body import Body
from worker.api.schemas.fields import StopStrings
from worker.api.schemas.form import ResponseFormat, grammar_form, only_form
from worker.api.schemas.sampling import SamplerFields
from worker.chat.messages import ChatMessage, Role
from worker.engine.constraint import ConstraintSpec
from worker.engine.params import InvalidParam, SamplingParams

MAX_CHOICES = 16


def _flatten(value: Any) -> Any:
    """Content parts as one text; a part this worker cannot read is refused."""
    if not isinstance(value, list):
        return value
    texts = []
    for index, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in ("text", "refusal"):
            raise ValueError(f"part {index}: this model reads text only, not {kind or 'this'}")
        text = part.get(kind)
        if not isinstance(text, str):
            raise ValueError(f"part {index}: {kind} must be a string")
        texts.append(text)
    return "\n".join(texts)


def _absent(value: Any) -> Any:
    """For fields that are not supported: null and the empty value mean that nothing was asked."""
    if value not in (None, [], {}, False):
        raise ValueError("is not supported by this worker")
    return None


_OTHER_SPELLINGS = {
    "max_tokens": ("max_completion_tokens",),
    "logprobs": ("top_logprobs",),
    "repetition_penalty": ("repeat_penalty",),
}

N = TypeVar("N", int, float)


def _first(*values: N | None, default: N) -> N:
    """The first value that was given."""
    return next((value for value in values if value is not None), default)


Unsupported = Annotated[Any, AfterValidator(_absent)]
Harmless = Any
Text = Annotated[str, BeforeValidator(_flatten)]


class Message(Body):
    """One turn. What an answer of ours carries may come back in `assistant` turns as it was."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | None = None
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    annotations: Harmless = None
    audio: Unsupported = None
    tool_calls: Unsupported = None
    function_call: Unsupported = None

    def normalised(self) -> ChatMessage:
        role: Role = "system" if self.role == "developer" else self.role
        return ChatMessage(role, self.content or "")


class StreamOptions(Body):
    include_usage: bool = False
    include_obfuscation: bool = False


class ChatRequest(SamplerFields):
    """OpenAI's request plus the extensions that clients of local servers send."""

    model: str = Field(min_length=1)
    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    stop: StopStrings = []
    seed: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: ResponseFormat | None = None

    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    repeat_penalty: float | None = None
    ignore_eos: bool = False
    grammar: str | None = None
    reproducible: bool | None = None
    session_id: str | None = None
    cache_prompt: bool | None = None
    chat_template_kwargs: dict[str, Any] = {}
    reasoning_effort: str | None = None

    tools: Unsupported = None
    functions: Unsupported = None
    function_call: Unsupported = None
    audio: Unsupported = None
    web_search_options: Unsupported = None

    tool_choice: Literal["none", "auto"] | None = None
    modalities: list[Literal["text"]] | None = None
    parallel_tool_calls: Harmless = None
    user: Harmless = None
    metadata: Harmless = None
    store: Harmless = None
    service_tier: Harmless = None
    safety_identifier: Harmless = None
    prompt_cache_key: Harmless = None
    prediction: Harmless = None
    verbosity: Harmless = None

    def sampling(self, default_max_tokens: int) -> SamplingParams:
        """Raises InvalidParam, naming the field as this request spells it."""
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidParam("top_logprobs", "needs logprobs to be true")
        if self.stream_options is not None and not self.stream:
            raise InvalidParam("stream_options", "needs stream to be true")
        try:
            return SamplingParams(
                max_tokens=_first(
                    self.max_completion_tokens, self.max_tokens, default=default_max_tokens
                ),
                temperature=_first(self.temperature, default=1.0),
                seed=self.seed,
                top_p=_first(self.top_p, default=1.0),
                top_k=_first(self.top_k, default=0),
                min_p=_first(self.min_p, default=0.0),
                repetition_penalty=_first(
                    self.repeat_penalty, self.repetition_penalty, default=1.0
                ),
                stop=tuple(self.stop),
                logprobs=_first(self.top_logprobs, default=0) if self.logprobs else None,
                ignore_eos=self.ignore_eos,
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
        wanted = None if self.response_format is None else self.response_format.form()
        return only_form([wanted, grammar_form(self.grammar)])

    @property
    def num_choices(self) -> int:
        return _first(self.n, default=1)

    @property
    def uses_cache(self) -> bool:
        return self.cache_prompt is not False

    @property
    def is_reproducible(self) -> bool:
        """Whoever gives a seed wants the same answer again."""
        return self.seed is not None if self.reproducible is None else self.reproducible

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def template_variables(self) -> dict[str, Any]:
        variables = dict(self.chat_template_kwargs)
        if self.reasoning_effort is not None:
            variables["reasoning_effort"] = self.reasoning_effort
        return variables
