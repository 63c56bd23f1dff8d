"""Asking one worker over HTTP, its answer as it comes."""

from __future__ import annotations

import http.client
import json
import secrets
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from llorch_ctl.transport import Tunnel
from pool_core.errors import LlorchError, UsageError


class RequestRefused(LlorchError):
    """The worker answered with an error."""

    code = "E_REQUEST"


class AnswerBroken(LlorchError):
    """The worker, or the way to it, went away in the middle of an answer."""

    code = "E_BROKEN"


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask and how. `is_raw` sends the prompt as it is, without a chat template."""

    prompt: str
    system: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    is_raw: bool = False

    @property
    def path(self) -> str:
        return "/execute" if self.is_raw else "/v1/chat/completions"

    def body(self, model: str) -> dict[str, Any]:
        """The request; what was not said is left to the worker."""
        options = {
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
        }
        said = {key: value for key, value in options.items() if value is not None}
        if self.is_raw:
            return {"job_id": f"infer-{secrets.token_hex(4)}", "prompt": self.prompt, **said}
        messages = [{"role": "system", "content": self.system}] if self.system else []
        messages.append({"role": "user", "content": self.prompt})
        streaming = {"stream": True, "stream_options": {"include_usage": True}}
        return {"model": model, "messages": messages, **streaming, **said}


@dataclass(slots=True)
class Reply:
    """What came besides the text."""

    stop_reason: str = ""
    num_tokens: int = 0
    is_complete: bool = False
    usage: dict[str, Any] = field(default_factory=dict)


def ask(
    tunnel: Tunnel, model: str, question: Question, token: str | None = None
) -> Generator[str, None, Reply]:
    """Yield the pieces of the answer. Closing the generator hangs up, which cancels it there.

    Raises RequestRefused or AnswerBroken.
    """
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    reply = Reply()
    connection = http.client.HTTPConnection(tunnel.host, tunnel.port)
    with closing(connection):
        try:
            body = json.dumps(question.body(model)).encode()
            connection.request("POST", question.path, body, headers)
            response = connection.getresponse()
            if response.status != 200:
                raise _refusal(response)
            for record in _records(response):
                if piece := _piece(record, reply):
                    yield piece
        except (OSError, http.client.HTTPException) as error:
            raise AnswerBroken(f"the answer broke off: {error or type(error).__name__}") from error
    if not reply.is_complete:
        raise AnswerBroken("the answer broke off", "is the worker still running?")
    return reply


def _records(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The JSON of each `data:` line."""
    for line in response:
        data = line.removeprefix(b"data:").strip()
        if not line.startswith(b"data:") or data == b"[DONE]":
            continue
        try:
            record = json.loads(data)
        except ValueError:
            raise AnswerBroken("the worker sent something that is not JSON") from None
        if isinstance(record, dict):
            yield record


def _piece(record: dict[str, Any], reply: Reply) -> str:
    """The text in one event of either dialect; what else it says goes into `reply`."""
    if "error" in record or record.get("type") == "error":
        inner = record.get("error")
        said = inner if isinstance(inner, dict) else record
        raise RequestRefused(str(said.get("message", "the worker failed")))
    if record.get("type") == "end":
        reply.is_complete = True
        reply.stop_reason = str(record.get("stop_reason", ""))
        reply.num_tokens = int(record.get("tokens_out", 0))
        reply.usage = {"completion_tokens": reply.num_tokens}
        return str(record.get("t") or "")
    if record.get("type") == "token":
        return str(record.get("t", ""))
    if usage := record.get("usage"):
        reply.usage = usage
        reply.num_tokens = int(usage.get("completion_tokens", 0))
    pieces = []
    for choice in record.get("choices") or ():
        pieces.append(str((choice.get("delta") or {}).get("content") or ""))
        if choice.get("finish_reason"):
            reply.is_complete = True
            reply.stop_reason = str(choice["finish_reason"])
    return "".join(pieces)


def _refusal(response: http.client.HTTPResponse) -> LlorchError:
    """The error body of a worker, in one line."""
    body = response.read(64 * 1024)
    try:
        message = str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"{response.status} {response.reason}"
    if response.status == 400:
        return UsageError(message)
    if response.status == 401:
        return RequestRefused(message, "the worker's token has changed; ask again")
    if response.status in (429, 503):
        wait = response.getheader("retry-after")
        return RequestRefused(message, f"try again in {wait} s" if wait else "try again later")
    return RequestRefused(message)
