"""What the routes answer, for the description: the fields that a client may rely on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
NULLABLE_STRING: Schema = {"type": ["string", "null"]}


def record(**properties: Schema) -> Schema:
    """An object with these fields, and perhaps more."""
    return {"type": "object", "properties": properties, "required": list(properties)}


# An event as a client sees it: its name, where the dialect has names, and its data, JSON in a line.
EVENT: Schema = {
    "type": "object",
    "properties": {"event": STRING, "data": STRING},
    "required": ["data"],
}


def listed(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def one(value: str) -> Schema:
    return {"const": value}


@dataclass(frozen=True, slots=True)
class Success:
    """An answer as JSON (`json`), as a stream of events, as other content, or the choice of them
    that the request made."""

    json: Schema | None = None
    is_stream: bool = False
    other: str | None = None
    statuses: tuple[int, ...] = (200,)

    def responses(self) -> dict[str, Any]:
        content: dict[str, Any] = {}
        if self.json is not None:
            content["application/json"] = {"schema": self.json}
        if self.is_stream:
            content["text/event-stream"] = {"schema": EVENT}
        if self.other is not None:
            content[self.other] = {"schema": STRING}
        return {
            str(status): {"description": "The answer.", "content": content}
            for status in self.statuses
        }


_USAGE = record(prompt_tokens=INTEGER, total_tokens=INTEGER)
_CARD = record(id=STRING, object=one("model"), created=INTEGER, owned_by=STRING)
_AGENT = record(name=STRING, status=STRING, tier=STRING, tokens=INTEGER, blocks=INTEGER)
_COMPLETION = {"created": INTEGER, "model": STRING, "choices": listed(OBJECT), "usage": _USAGE}
_HEALTH = record(status=STRING, progress=NUMBER)

SUCCESSES: dict[str, Success] = {
    "GET /health": Success(_HEALTH),
    "GET /health/live": Success(record(status=STRING)),
    "GET /health/ready": Success(_HEALTH),
    "GET /health/startup": Success(_HEALTH),
    "GET /metrics": Success(other="text/plain; version=0.0.4; charset=utf-8"),
    "POST /execute": Success(is_stream=True),
    "POST /cancel": Success(record(cancelled=INTEGER)),
    "POST /self-test": Success(is_stream=True),
    "POST /v1/chat/completions": Success(
        record(id=STRING, object=one("chat.completion"), **_COMPLETION), is_stream=True
    ),
    "POST /v1/completions": Success(
        record(id=STRING, object=one("text_completion"), **_COMPLETION), is_stream=True
    ),
    "POST /v1/embeddings": Success(
        record(object=one("list"), data=listed(OBJECT), model=STRING, usage=_USAGE)
    ),
    "POST /v1/responses": Success(
        record(
            id=STRING, object=one("response"), status=STRING, model=STRING, output=listed(OBJECT)
        ),
        is_stream=True,
    ),
    "POST /tokenize": Success(record(tokens=listed({}))),
    "POST /detokenize": Success(OBJECT),
    "GET /tokenizer_info": Success(OBJECT),
    "GET /props": Success(OBJECT),
    "GET /v1/models": Success(record(object=one("list"), data=listed(_CARD), has_more=BOOLEAN)),
    "GET /v1/models/{name}": Success(_CARD),
    "POST /v1/messages": Success(
        record(
            id=STRING,
            type=one("message"),
            role=one("assistant"),
            model=STRING,
            content=listed(record(type=STRING)),
            stop_reason=NULLABLE_STRING,
            stop_sequence=NULLABLE_STRING,
            usage=record(input_tokens=INTEGER, output_tokens=INTEGER),
        ),
        is_stream=True,
    ),
    "POST /v1/messages/count_tokens": Success(record(input_tokens=INTEGER)),
    "GET /v1/agents": Success(record(agents=listed(_AGENT), has_more=BOOLEAN)),
    "POST /v1/agents": Success(_AGENT, statuses=(201,)),
    "GET /v1/agents/{name}": Success(_AGENT),
    "DELETE /v1/agents/{name}": Success(record(name=STRING, deleted=BOOLEAN)),
    "POST /v1/agents/{name}/fork": Success(_AGENT, statuses=(201,)),
    "POST /v1/agents/{name}/spill": Success(_AGENT),
    "POST /v1/agents/{name}/generate": Success(OBJECT, is_stream=True),
    "GET /v1/agents/{name}/cache": Success(other="application/octet-stream"),
    "PUT /v1/agents/{name}/cache": Success(_AGENT, statuses=(200, 201)),
}
