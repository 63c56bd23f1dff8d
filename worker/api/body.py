"""Request bodies: JSON whatever the Content-Type, bounded, checked strictly, refused by name."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from worker.api.errors import ApiError, invalid

MAX_BODY_BYTES = 8 << 20
_BODY_TIMEOUT_S = 60.0


class Body(BaseModel):
    """Base of every request: no unknown fields, and "5" is no number, nor true, nor 5.0."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class LenientBody(Body):
    """Base of the dialects' requests, whose clients send new fields all the time: those that are
    not known are ignored, here and in every part. A mixin of Body's comes before it in the list of
    bases, since the last one says what becomes of unknown fields.
    """

    model_config = ConfigDict(extra="ignore")


B = TypeVar("B", bound=Body)


async def read_body(request: Request, kind: type[B]) -> B:
    """Raises ApiError: 400 naming the field, 408 or 413."""
    raw = await _read_bytes(request)
    if not raw.strip():
        raise invalid("the body is empty; send a JSON object")
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise _explain(error) from None


async def _read_bytes(request: Request) -> bytes:
    kept = bytearray()
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for chunk in request.stream():
                kept += chunk
                if len(kept) > MAX_BODY_BYTES:
                    raise ApiError(
                        413, "BODY_TOO_LARGE", f"the body is larger than {MAX_BODY_BYTES} bytes"
                    )
    except TimeoutError:
        raise ApiError(408, "BODY_TIMEOUT", "the body did not arrive in time") from None
    return bytes(kept)


def _explain(error: ValidationError) -> ApiError:
    """The first thing wrong, in a sentence with the field's name; never the input itself."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    message = str(first["msg"])
    if first["type"] == "json_invalid":
        return invalid(message[0].lower() + message[1:])
    field = _field_name(first["loc"])
    match first["type"]:
        case "missing":
            return invalid(f"{field} is required", field)
        case "extra_forbidden":
            return invalid(f"{field} is not a field of this request", field)
        case "model_type" if not field:
            return invalid("the body must be a JSON object")
    reason = message.removeprefix("Value error, ").removeprefix("Input ")
    return invalid(f"{field} {reason[0].lower()}{reason[1:]}", field)


def _field_name(loc: tuple[Any, ...]) -> str:
    """("messages", 0, "content", "str") -> "messages.0.content".

    pydantic appends the name of the union's member that was tried, which is no field.
    """
    parts = [str(part) for part in loc]
    while parts and ("[" in parts[-1] or parts[-1] in _UNION_MEMBERS):
        parts.pop()
    return ".".join(parts)


_UNION_MEMBERS = {"str", "int", "float", "bool"}
