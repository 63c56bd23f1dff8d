"""What a matrix file says: models, backends, pools, cases, and how strictly to compare."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator


def _one_or_many(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], Field(strict=False)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_one_or_many), Field(strict=False)]


class Table(BaseModel):
    """A table of the file: frozen, typed strictly, and without room for unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_by_name=True)


class Message(Table):
    role: Literal["system", "user", "assistant"]
    content: str


class Case(Table):
    """One question and what its answer must be; without a check, any answer at all will do.

    `equals` ignores white space around the answer. `json` looks at the first JSON value in it:
    true asks only that there is one, names ask for members, a table asks for their values too.
    """

    name: str = Field(min_length=1)
    prompt: str | None = Field(default=None, min_length=1)
    messages: Annotated[tuple[Message, ...], Field(strict=False)] = ()
    mode: Literal["raw", "chat"] = "raw"
    max_tokens: int = Field(default=64, ge=1)
    stop: Annotated[Texts, Field(max_length=4)] = ()
    contains: Texts = ()
    equals: str | None = None
    regex: str | None = None
    members: bool | Names | dict[str, Any] | None = Field(default=None, alias="json")

    @model_validator(mode="before")
    @classmethod
    def _messages_are_chat(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("messages"):
            return {"mode": "chat"} | values
        return values

    @field_validator("regex")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Case:
        if (self.prompt is None) == (not self.messages):
            raise ValueError("needs either prompt or messages")
        if self.messages and self.mode == "raw":
            raise ValueError('messages need mode = "chat"')
        return self

    @property
    def chat(self) -> list[dict[str, str]]:
        """The conversation to send in chat mode."""
        if self.prompt is not None:
            return [{"role": "user", "content": self.prompt}]
        return [message.model_dump() for message in self.messages]


class Parity(Table):
    """How two backends are compared: natural-log probabilities, and tokens of each case."""

    tolerance: float = Field(default=0.05, gt=0)
    tokens: int = Field(default=64, ge=1)
    cases: int = Field(default=8, ge=1)


class Limits(Table):
    """How hard a worker is driven, and how long anything may take, in seconds."""

    parallel: int = Field(default=8, ge=1)
    runs: int = Field(default=3, ge=2)
    answer_timeout: float = Field(default=300.0, gt=0)
    load_timeout: float = Field(default=900.0, gt=0)


class Speed(Table):
    """What is timed, on an otherwise idle worker; `min_tokens_per_second` 0 accepts any speed."""

    enabled: bool = True
    prompt: str = Field(default="Count from 1 to 60", min_length=1)
    prefill_words: int = Field(default=200, ge=0)
    max_tokens: int = Field(default=64, ge=2)
    runs: int = Field(default=3, ge=1)
    min_tokens_per_second: float = Field(default=0.0, ge=0)


class Worker(Table):
    """How the workers are spawned; 0 and "" leave it to the pool."""

    ctx: int = Field(default=0, ge=0)
    slots: int = Field(default=0, ge=0)
    threads: int = Field(default=0, ge=0)
    kv_type: Literal["", "f16", "q8_0", "q4_0"] = ""

    @property
    def options(self) -> list[str]:
        """As options of `worker spawn`."""
        given = {f"--{name.replace('_', '-')}": value for name, value in self if value}
        return [part for name, value in given.items() for part in (name, str(value))]


class Matrix(Table):
    """A whole file. The first backend is the one that the others are compared with."""

    name: str = "matrix"
    models: Annotated[Names, Field(min_length=1)]
    backends: Annotated[Names, Field(min_length=1)]
    pools: Names = ()
    parity: Parity = Parity()
    limits: Limits = Limits()
    speed: Speed = Speed()
    worker: Worker = Worker()
    cases: Annotated[tuple[Case, ...], Field(strict=False, min_length=1)]

    @field_validator("models", "backends", "pools", "cases")
    @classmethod
    def _each_once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [value.name if isinstance(value, Case) else value for value in values]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f'"{name}" is named twice')
        return values

    @property
    def close_cases(self) -> tuple[Case, ...]:
        """The cases that are also repeated, asked alone, and compared between backends."""
        return self.cases[: self.parity.cases]

    @property
    def digest(self) -> str:
        """What a cell's verdict depends on besides the cell itself; decides what may be resumed."""
        asked = self.model_dump(mode="json", exclude={"name", "models", "pools", "backends"})
        asked["baseline"] = self.backends[0]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
