"""What an answer must look like: OpenAI's response_format and llama-server's grammar."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field

from worker.api.body import Body
from worker.engine.constraint import ConstraintKind, ConstraintSpec
from worker.engine.params import InvalidParam

_ANY_OBJECT = ConstraintSpec(
    ConstraintKind.JSON_SCHEMA, '{"type":"object"}', "response_format.type"
)


class JsonSchemaFormat(Body):
    """`strict` asks that nothing of the schema be left out; else what cannot be kept is skipped."""

    name: str = Field(min_length=1)
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None

    def form(self) -> ConstraintSpec:
        kind = ConstraintKind.JSON_SCHEMA if self.strict else ConstraintKind.BEST_EFFORT_SCHEMA
        field = "response_format.json_schema.schema"
        return ConstraintSpec(kind, json.dumps(self.schema_), field)


class ResponseFormat(Body):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    def form(self) -> ConstraintSpec | None:
        """Raises InvalidParam."""
        if (self.type == "json_schema") != (self.json_schema is not None):
            reason = 'belongs to the type "json_schema", and is required there'
            raise InvalidParam("response_format.json_schema", reason)
        if self.json_schema is not None:
            return self.json_schema.form()
        return _ANY_OBJECT if self.type == "json_object" else None


def grammar_form(grammar: str | None) -> ConstraintSpec | None:
    """GBNF, or llguidance's Lark behind its marker, as llama-server tells them apart."""
    if not grammar:
        return None
    is_lark = grammar.startswith("%llguidance")
    kind = ConstraintKind.LARK if is_lark else ConstraintKind.GBNF
    return ConstraintSpec(kind, grammar, "grammar")


def only_form(forms: Iterable[ConstraintSpec | None]) -> ConstraintSpec | None:
    """The one that was given. Raises InvalidParam when there are several."""
    given = [form for form in forms if form is not None]
    if len(given) > 1:
        raise InvalidParam(given[1].field, f"cannot be combined with {given[0].field}")
    return given[0] if given else None
