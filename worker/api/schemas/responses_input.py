"""The items of `/v1/responses`, in which a conversation comes and its answer goes back."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema

from worker.api.body import LenientBody

_SEALED = "llorch-1:"


class TextPart(LenientBody):
    type: Literal["input_text", "output_text", "text"]
    text: str


class RefusalPart(LenientBody):
    type: Literal["refusal"]
    refusal: str

    @property
    def text(self) -> str:
        return self.refusal


def _kind(value: Any) -> Any:
    return value.get("type") if isinstance(value, dict) else getattr(value, "type", None)


def _readable(value: Any) -> Any:
    """Says of images, files and audio what is the matter with them."""
    kind = _kind(value)
    if isinstance(kind, str) and kind.startswith("input_") and kind != "input_text":
        raise ValueError(f"is of type {kind}, but this model reads text only")
    return value


def _part_tag(value: Any) -> str | None:
    kind = _kind(value)
    known = ("input_text", "output_text", "text")
    return "<refusal>" if kind == "refusal" else "<text>" if kind in known else None


ContentPart = Annotated[
    Annotated[TextPart, Tag("<text>")] | Annotated[RefusalPart, Tag("<refusal>")],
    Discriminator(
        _part_tag,
        custom_error_type="content_part",
        custom_error_message="must be a part of type input_text, output_text or refusal",
    ),
    BeforeValidator(_readable),
]


def _as_parts(value: Any) -> Any:
    if isinstance(value, str):
        return [{"type": "input_text", "text": value}]
    if not isinstance(value, list):
        raise ValueError("must be a string or a list of parts")
    return value


Content = Annotated[
    list[ContentPart], BeforeValidator(_as_parts, json_schema_input_type=str | list[ContentPart])
]


def text_of(parts: list[TextPart | RefusalPart]) -> str:
    return "\n".join(part.text for part in parts)


class MessageItem(LenientBody):
    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Content


class CallItem(LenientBody):
    """`arguments` is the text of a JSON object."""

    type: Literal["function_call"]
    call_id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    arguments: str


class CallOutputItem(LenientBody):
    type: Literal["function_call_output"]
    call_id: str = Field(min_length=1)
    output: Content


class ReasoningText(LenientBody):
    text: str


class ReasoningItem(LenientBody):
    """Thoughts as an answer of ours had them; of others' there may be no more than a summary."""

    type: Literal["reasoning"]
    content: list[ReasoningText] | None = None
    summary: list[ReasoningText] | None = None
    encrypted_content: str | None = None

    @property
    def text(self) -> str:
        parts = self.content or self.summary
        if parts:
            return "\n".join(part.text for part in parts)
        return unsealed(self.encrypted_content or "")


_HOSTED = frozenset(
    f"{tool}_call{suffix}"
    for tool in (
        *("apply_patch", "code_interpreter", "computer", "custom_tool", "file_search", "mcp"),
        *("image_generation", "local_shell", "shell", "tool_search", "web_search"),
    )
    for suffix in ("", "_output")
) | {
    *("additional_tools", "compaction", "mcp_approval_request", "mcp_approval_response"),
    *("mcp_list_tools", "program", "program_output", "tool_search_output"),
}


class OtherItem(LenientBody):
    """What hosted tools left behind in a conversation; nothing here could have called them."""

    type: Annotated[str, WithJsonSchema({"enum": sorted(_HOSTED)})]


_ITEMS = frozenset({"message", "function_call", "function_call_output", "reasoning"})


def _item_tag(value: Any) -> str | None:
    kind = _kind(value)
    if kind is None and (not isinstance(value, dict) or "role" in value):
        kind = "message"
    if not isinstance(kind, str):
        return None
    return f"<{kind}>" if kind in _ITEMS else "<hosted>" if kind in _HOSTED else None


def _not_a_reference(value: Any) -> Any:
    if _kind(value) == "item_reference":
        raise ValueError("refers to a stored item, but nothing is stored here; send the item")
    return value


InputItem = Annotated[
    Annotated[MessageItem, Tag("<message>")]
    | Annotated[CallItem, Tag("<function_call>")]
    | Annotated[CallOutputItem, Tag("<function_call_output>")]
    | Annotated[ReasoningItem, Tag("<reasoning>")]
    | Annotated[OtherItem, Tag("<hosted>")],
    Discriminator(
        _item_tag,
        custom_error_type="input_item",
        custom_error_message=(
            "must be an item of type message, function_call, function_call_output or reasoning"
        ),
    ),
    BeforeValidator(_not_a_reference),
]


def _as_items(value: Any) -> Any:
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}]
    if not isinstance(value, list):
        raise ValueError("must be a string or a list of items")
    return value


Input = Annotated[
    list[InputItem],
    Field(min_length=1),
    BeforeValidator(_as_items, json_schema_input_type=str | list[InputItem]),
]


def sealed(thoughts: str) -> str:
    """Thoughts as `encrypted_content`, for clients that send nothing else of them back. They are
    the client's own: they are packed, not hidden."""
    return _SEALED + base64.b64encode(thoughts.encode()).decode()


def unsealed(content: str) -> str:
    """What was sealed here, or "" of what was sealed elsewhere."""
    if not content.startswith(_SEALED):
        return ""
    try:
        return base64.b64decode(content.removeprefix(_SEALED), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
