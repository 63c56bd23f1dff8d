"""The blocks that Anthropic's messages are made of, as far as a model of text can read them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema

from worker.api.body import LenientBody

UNREADABLE = ("image", "document", "container_upload")
_IN_TURNS = ("text", "thinking", "redacted_thinking", "tool_use", "tool_result", "search_result")
_IN_RESULTS = ("text", "tool_reference", "search_result")


def _other_than(*kinds: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "not": {"enum": [*kinds, *UNREADABLE]}})


def _kind_among(kinds: tuple[str, ...]) -> Discriminator:
    def tag(value: Any) -> str:
        kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
        return f"<{kind}>" if kind in kinds else "<unknown>"

    return Discriminator(tag)


def _as_blocks(value: Any) -> Any:
    """A string is one block of text: both spellings of a message are the same message."""
    if value is None:
        return []
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    if not isinstance(value, list):
        raise ValueError("should be a string or a list of blocks")
    return value


class Marked(LenientBody):
    """What may carry a mark of where the client would like a prompt to be cached."""

    cache_control: dict[str, Any] | None = None


class TextBlock(Marked):
    type: Literal["text"]
    text: str


class ThinkingBlock(LenientBody):
    """`signature` may hold the thoughts of a block that was shown without them."""

    type: Literal["thinking"]
    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(LenientBody):
    """Thoughts that only another server can read."""

    type: Literal["redacted_thinking"]


class ToolUseBlock(Marked):
    type: Literal["tool_use"]
    id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    input: dict[str, Any]


class ToolReferenceBlock(LenientBody):
    """A search for tools has found this one: from now on it can be called."""

    type: Literal["tool_reference"]
    tool_name: str = Field(min_length=1)


class SearchResultBlock(Marked):
    type: Literal["search_result"]
    source: str = ""
    title: str = ""
    content: list[TextBlock] = []


class UnknownBlock(LenientBody):
    """Of a kind that this worker has never heard of, of which the model is shown nothing; or of a
    kind that it cannot read, and refuses where it knows the block's place."""

    type: Annotated[str, _other_than(*_IN_TURNS)]


class UnknownResultBlock(LenientBody):
    """The same, in a tool's result."""

    type: Annotated[str, _other_than(*_IN_RESULTS)]


ResultBlock = Annotated[
    Annotated[TextBlock, Tag("<text>")]
    | Annotated[ToolReferenceBlock, Tag("<tool_reference>")]
    | Annotated[SearchResultBlock, Tag("<search_result>")]
    | Annotated[UnknownResultBlock, Tag("<unknown>")],
    _kind_among(_IN_RESULTS),
]


def _from_text_or(kind: Any) -> BeforeValidator:
    return BeforeValidator(_as_blocks, json_schema_input_type=str | list[kind] | None)


class ToolResultBlock(Marked):
    type: Literal["tool_result"]
    tool_use_id: str = Field(min_length=1)
    content: Annotated[list[ResultBlock], _from_text_or(ResultBlock)] = []
    is_error: bool | None = None


Block = Annotated[
    Annotated[TextBlock, Tag("<text>")]
    | Annotated[ThinkingBlock, Tag("<thinking>")]
    | Annotated[RedactedThinkingBlock, Tag("<redacted_thinking>")]
    | Annotated[ToolUseBlock, Tag("<tool_use>")]
    | Annotated[ToolResultBlock, Tag("<tool_result>")]
    | Annotated[SearchResultBlock, Tag("<search_result>")]
    | Annotated[UnknownBlock, Tag("<unknown>")],
    _kind_among(_IN_TURNS),
]

Content = Annotated[list[Block], _from_text_or(Block)]
SystemText = Annotated[list[TextBlock], _from_text_or(TextBlock)]
