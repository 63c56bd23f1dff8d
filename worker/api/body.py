"""Request bodies: JSON whatever the Content-Type, bounded, checked strictly, refused by name."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema

from worker.api.errors import ApiError, invalid
from worker.api.json_check import BadJson, check_json

_MAX_INLINE_BYTES = 64 << 10  # milliseconds; what is larger is read in another thread


def _fail_fast(schema: Any) -> None:
    """Only the first thing wrong is ever told, and a list of 300,000 wrong items takes seconds."""
    if isinstance(schema, dict):
        if schema.get("type") == "list":
            schema["fail_fast"] = True
        for part in schema.values():
            _fail_fast(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            _fail_fast(part)


class Body(BaseModel):
    """Base of every request: no unknown fields, and "5" is no number, nor true, nor 5.0."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        schema = handler(source)
        _fail_fast(schema)
        return schema


class LenientBody(Body):
    """Base of the dialects' requests, whose clients send new fields all the time: those that are
    not known are ignored, here and in every part. A mixin of Body's comes before it in the list of
    bases, since the last one says what becomes of unknown fields.
    """

    model_config = ConfigDict(extra="ignore")


B = TypeVar("B", bound=Body)


async def read_body(request: Request, kind: type[B]) -> B:
    """Raises ApiError: 400 naming the field, 408 or 413."""
    limits = request.app.state.service.settings.limits
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            raw = await _read_bytes(request, limits.max_body)
    except TimeoutError:
        raise ApiError(408, "BODY_TIMEOUT", "the body did not arrive in time") from None
    if not raw.strip():
        raise invalid("the body is empty; send a JSON object")
    if len(raw) <= _MAX_INLINE_BYTES:
        return _parse(raw, kind)
    return await asyncio.to_thread(_parse, raw, kind)


async def _read_bytes(request: Request, limit: int) -> bytes:
    if int(request.headers.get("content-length", 0)) > limit:
        raise _too_large(limit)
    kept = bytearray()
    async for chunk in request.stream():
        kept += chunk
        if len(kept) > limit:
            raise _too_large(limit)
    return bytes(kept)


def _too_large(limit: int) -> ApiError:
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return ApiError(status, "BODY_TOO_LARGE", f"the body is larger than {limit} bytes")


def _parse(raw: bytes, kind: type[B]) -> B:
    """Raises ApiError 400."""
    try:
        check_json(raw)
        return kind.model_validate_json(raw)
    except BadJson as error:
        raise invalid(str(error), error.field) from None
    except ValidationError as error:
        raise _explain(error) from None


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

    pydantic appends the name of the union's member that was tried, which is no field; nor is the
    tag of a tagged union's member, for which reason ours are written "<message>".
    """
    parts = [str(part) for part in loc if not str(part).startswith("<")]
    while parts and ("[" in parts[-1] or parts[-1] in _UNION_MEMBERS):
        parts.pop()
    return ".".join(parts)


_UNION_MEMBERS = {"str", "int", "float", "bool"}
