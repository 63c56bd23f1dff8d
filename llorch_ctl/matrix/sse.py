"""Reading a worker's event streams: `/execute` in our dialect, chat completions in OpenAI's."""

from __future__ import annotations

import json
from typing import Any

from llorch_ctl.matrix.trace import Answer, Token

_MAX_EVENT = 4 << 20


class Reader:
    """Collects one answer line by line. `error` is set when the worker ended it with one."""

    def __init__(self) -> None:
        self.error = ""
        self.is_complete = False
        self._tokens: list[Token] = []
        self._texts: list[str] = []
        self._body: list[bytes] = []
        self._metrics: dict[str, Any] = {}
        self._stop_reason = ""

    def feed(self, line: bytes) -> bool:
        """Take one line of the stream; True when it brought a token. Comments are no content."""
        if not line.startswith(b"data:"):
            return False
        data = line[5:].strip()
        if data == b"[DONE]":
            return False
        try:
            event = json.loads(data[:_MAX_EVENT])
        except ValueError:
            self.error = "an event that is not JSON"
            return False
        num_tokens = len(self._tokens)
        try:
            self._take(event, data)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            self.error = f"an unexpected event: {data[:200].decode('utf-8', 'replace')}"
        return len(self._tokens) > num_tokens

    def answer(self, first_token_s: float) -> Answer:
        """What was collected; call it once `is_complete`."""
        return Answer(
            text="".join(self._texts),
            tokens=tuple(self._tokens),
            stop_reason=self._stop_reason,
            body=b"\n".join(self._body),
            first_token_s=first_token_s,
            metrics=self._metrics,
        )

    def _take(self, event: Any, data: bytes) -> None:
        raise NotImplementedError


class ExecuteReader(Reader):
    """`started`, `token`s, perhaps `metrics`, then `end` or `error`. Every byte counts."""

    def _take(self, event: Any, data: bytes) -> None:
        kind = event["type"]
        if kind == "metrics":
            self._metrics = event
            return
        self._body.append(data)
        match kind:
            case "token":
                likeliest = {
                    str(item["id"]): float(item["logprob"])
                    for item in event.get("top_logprobs") or ()
                }
                text = _text(event["t"])
                self._texts.append(text)
                self._tokens.append(Token(text, event.get("id"), event.get("logprob"), likeliest))
            case "end":
                self._texts.append(_text(event.get("t") or ""))
                self._stop_reason = event["stop_reason"]
                self.is_complete = True
            case "error":
                self.error = f"{event['code']}: {event['message']}"


class ChatReader(Reader):
    """OpenAI chunks; ids and clock values differ by design, so only the choices are compared."""

    def _take(self, event: Any, data: bytes) -> None:
        if "error" in event:
            self.error = str(event["error"]["message"])
            return
        for choice in event.get("choices") or ():
            self._body.append(json.dumps(choice, sort_keys=True).encode())
            self._texts.append(_text((choice.get("delta") or {}).get("content") or ""))
            for item in (choice.get("logprobs") or {}).get("content") or ():
                top = item.get("top_logprobs") or ()
                likeliest = {_text(other["token"]): float(other["logprob"]) for other in top}
                self._tokens.append(Token(_text(item["token"]), None, item["logprob"], likeliest))
            if choice.get("finish_reason"):
                self._stop_reason = choice["finish_reason"]
                self.is_complete = True


def _text(value: Any) -> str:
    """A string that can be written anywhere: JSON may carry half a surrogate pair, UTF-8 not."""
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value.encode("utf-8", "replace").decode("utf-8")
