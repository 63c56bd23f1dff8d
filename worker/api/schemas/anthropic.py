"""`POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's requests.

What decides the answer is honoured or refused by name; betas, hints and what only a hosted service
can do is ignored, as Anthropic's clients expect of servers older than themselves.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, WithJsonSchema

from worker.api.body import LenientBody
from worker.api.schemas.anthropic_blocks import Content, Marked, SystemText
from worker.engine.constraint import ConstraintKind, ConstraintSpec
from worker.engine.params import InvalidParam, SamplingParams


class MessageParam(LenientBody):
    role: Literal["user", "assistant", "system"]
    content: Content


class CustomTool(Marked):
    """One that the client runs. With `defer_loading` the model is told of it when a search for
    tools has found it."""

    type: Literal["custom"] | None = None
    name: str = Field(min_length=1, max_length=128)
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None
    defer_loading: bool | None = None


class ServerTool(LenientBody):
    """One that Anthropic runs, or whose schema only Anthropic's models know."""

    type: Annotated[str, WithJsonSchema({"type": "string", "not": {"const": "custom"}})]


def _tool_kind(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "<custom>" if kind in (None, "custom") else "<server>"


AnyTool = Annotated[
    Annotated[CustomTool, Tag("<custom>")] | Annotated[ServerTool, Tag("<server>")],
    Discriminator(_tool_kind),
]


class ToolChoiceParam(LenientBody):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(LenientBody):
    """How much the model thinks is its own affair: `budget_tokens` is a wish."""

    type: Literal["enabled", "adaptive", "disabled", "between_tools"]
    budget_tokens: int | None = Field(None, ge=0)
    display: str | None = None


class OutputFormat(LenientBody):
    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(LenientBody):
    effort: str | None = None
    format: OutputFormat | None = None


class Metadata(LenientBody):
    user_id: str | None = None


class CountTokensRequest(Marked):
    """What a prompt is made of."""

    model: str = Field(min_length=1)
    messages: list[MessageParam] = Field(min_length=1)
    system: SystemText = []
    tools: list[AnyTool] | None = None
    tool_choice: ToolChoiceParam | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None

    @property
    def effort(self) -> str | None:
        return None if self.output_config is None else self.output_config.effort

    def form(self) -> ConstraintSpec | None:
        """What the answer must look like."""
        config = self.output_config
        if config is not None and config.format is not None:
            return _schema_form(config.format, "output_config.format.schema")
        if self.output_format is not None:
            return _schema_form(self.output_format, "output_format.schema")
        return None


class MessagesRequest(CountTokensRequest):
    """`max_tokens` 0 has the prompt computed and kept, and nothing written. Sampling parameters are
    honoured under any version of the API, although newer ones know only a few of them."""

    max_tokens: int = Field(ge=0)
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    metadata: Metadata | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None

    def sampling(self) -> SamplingParams:
        """Raises InvalidParam, naming the field as this request spells it."""
        given: dict[str, Any] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
        }
        try:
            return SamplingParams(
                max_tokens=max(1, self.max_tokens),
                seed=self.seed,
                stop=tuple(self.stop_sequences or ()),
                **{"temperature": 1.0, **_present(given)},
            )
        except InvalidParam as error:
            name = "stop_sequences" if error.field == "stop" else error.field
            raise InvalidParam(name, error.reason) from None

    @property
    def is_reproducible(self) -> bool:
        """Whoever gives a seed wants the same answer again."""
        return self.seed is not None

    @property
    def user_id(self) -> str | None:
        return None if self.metadata is None else self.metadata.user_id


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _schema_form(wanted: OutputFormat, field: str) -> ConstraintSpec:
    return ConstraintSpec(ConstraintKind.JSON_SCHEMA, json.dumps(wanted.schema_), field)
