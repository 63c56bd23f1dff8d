"""Answers that must have a form: what compiles it, and what allows tokens one after another."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


# Between the tokens of JSON, as llama.cpp has it: without a bound some models go on with line
# feeds for ever.
JSON_WHITESPACE = r" |\n{1,2}[ \t]{0,20}"


class ConstraintKind(StrEnum):
    """What a form is written in. `BEST_EFFORT_SCHEMA` skips what of a JSON schema the compiler
    does not know; `JSON_SCHEMA` refuses it."""

    JSON_SCHEMA = "json_schema"
    BEST_EFFORT_SCHEMA = "best_effort_schema"
    REGEX = "regex"
    GBNF = "gbnf"
    LARK = "lark"


@dataclass(frozen=True, slots=True)
class ConstraintSpec:
    """A form as a request wrote it, and the name of the request's field that it came in."""

    kind: ConstraintKind
    text: str
    field: str


class ConstraintState(Protocol):
    """One answer on its way through its form. Used by one thread at a time."""

    def allowed(self) -> NDArray[np.bool_]:
        """For each token of the vocabulary, whether it may come next; never none at all. Once
        the form is complete that is only what ends an answer. Good until the next call."""
        ...

    def accept(self, token: int) -> None:
        """The token came. It was allowed, unless the form was complete already."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow but the end."""
        ...


class Constraint(Protocol):
    """A compiled form. Any thread may start answers from it."""

    def start(self) -> ConstraintState: ...


class ConstraintCompiler(Protocol):
    """Makes constraints for one model's vocabulary. Safe to use from any thread."""

    def compile(self, spec: ConstraintSpec) -> Constraint:
        """Blocks for as long as it takes. Raises InvalidParam naming the spec's field."""
        ...
