"""Arguments that a model writes as bare text: what they are as JSON, by the tool's schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_MAX_REFERENCES = 8


def types_of(schema: Mapping[str, Any], key: str) -> frozenset[str]:
    """The JSON types that the argument may have; empty when the schema does not say."""
    properties = schema.get("properties")
    inner = properties.get(key) if isinstance(properties, Mapping) else None
    return _types(inner, schema, 0)


def as_json(text: str, types: frozenset[str]) -> str:
    """The text of the JSON value that is meant. It is a string unless it reads as a value of
    another type that is allowed; where no type is known, any."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        value = {"True": True, "False": False, "None": None}.get(text.strip(), text)
    kind = _kind(value)
    is_allowed = kind in types or (kind == "integer" and "number" in types)
    if types and not is_allowed and (kind != "number" or "integer" not in types):
        value = text
    if isinstance(value, str) and _kind(value) == "string":
        value = text
    return json.dumps(value, ensure_ascii=False)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _types(schema: Any, root: Mapping[str, Any], depth: int) -> frozenset[str]:
    if not isinstance(schema, Mapping) or depth > _MAX_REFERENCES:
        return frozenset()
    kinds = schema.get("type")
    if isinstance(kinds, str):
        return frozenset({kinds})
    if isinstance(kinds, list):
        return frozenset(kind for kind in kinds if isinstance(kind, str))
    if "const" in schema:
        return frozenset({_kind(schema["const"])})
    if isinstance(schema.get("enum"), list):
        return frozenset(map(_kind, schema["enum"]))
    for word in ("anyOf", "oneOf"):
        if isinstance(schema.get(word), list):
            found = [_types(one, root, depth + 1) for one in schema[word]]
            return frozenset().union(*found) if all(found) else frozenset()
    if isinstance(schema.get("$ref"), str):
        return _types(_follow(schema["$ref"], root), root, depth + 1)
    return frozenset()


def _follow(reference: str, root: Mapping[str, Any]) -> Any:
    """What a reference within the schema points to."""
    at: Any = root
    for step in reference.removeprefix("#/").split("/"):
        at = at.get(step) if isinstance(at, Mapping) else None
    return at


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case None:
            return "null"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"
