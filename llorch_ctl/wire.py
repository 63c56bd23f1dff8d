"""Events as a stranger may write them: decoded, and refused when a field is not what it must be."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, get_args, get_origin, get_type_hints

from pool_core.events import Event, from_json


class BadLine(ValueError):
    """A line that is not an event of the protocol."""


def decode(line: str) -> Event | None:
    """The event in `line`; None for a type we do not know. Raises BadLine."""
    try:
        event = from_json(line)
    except (ValueError, RecursionError) as error:
        raise BadLine(str(error)) from None
    if event is not None:
        for name, hint in _FIELDS[event.t]:
            if not _fits(getattr(event, name), hint):
                raise BadLine(f"bad {event.t} event: {name}")
    return event


def _fields_of(kind: type[Any]) -> list[tuple[str, Any]]:
    hints = get_type_hints(kind)
    return [(field.name, hints[field.name]) for field in fields(kind)]


_FIELDS = {kind.t: _fields_of(kind) for kind in get_args(Event)}


def _fits(value: Any, hint: Any) -> bool:
    if hint is Any:
        return True
    if hint is float:
        return _is_number(value) and math.isfinite(value)
    if hint is int:
        return _is_number(value) and isinstance(value, int)
    origin = get_origin(hint)
    if origin is tuple:
        parts = get_args(hint)
        return (
            isinstance(value, tuple) and len(value) == len(parts) and all(map(_fits, value, parts))
        )
    if origin is dict:
        return isinstance(value, dict)
    if origin is not None:  # X | None
        return any(_fits(value, part) for part in get_args(hint))
    return isinstance(value, hint)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
