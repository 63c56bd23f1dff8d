"""A scripted model that says what its user tells it to, and streamed answers put together again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fakes.runner import FakeRunner
from tests.rigs.api_server import ApiServer, serve_api
from tests.rigs.http import call

URL = "/v1/chat/completions"
_TEMPLATES = Path(__file__).parents[1] / "chat" / "templates"


@contextmanager
def obedient_server(template: str = "qwen3") -> Iterator[ApiServer]:
    source = (_TEMPLATES / f"{template}.jinja").read_text(encoding="utf-8")
    runner = FakeRunner(_told, num_cells=32 * 256, max_batch_tokens=512, chat_template=source)
    with serve_api(runner) as server:
        yield server


def say(text: str, **fields: Any) -> dict[str, Any]:
    """A request that is answered with exactly this."""
    messages = [{"role": "user", "content": f"SAY:{text.encode().hex()}."}]
    return {"model": "fake", "messages": messages} | fields


def tool(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


def whole(server: ApiServer, ask: dict[str, Any]) -> dict[str, Any]:
    answer = call(server.url, URL, ask)
    assert answer.status == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def streamed(server: ApiServer, ask: dict[str, Any]) -> list[dict[str, Any]]:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, done = call(server.url, URL, ask | options).events
    assert done == "[DONE]"
    return chunks


def put_together(chunks: Sequence[dict[str, Any]], index: int) -> dict[str, Any]:
    """The choice as it would have come in one piece, as OpenAI's own client adds it up."""
    message: dict[str, Any] = {}
    calls: list[dict[str, Any]] = []
    entries: list[Any] = []
    reason = None
    for chunk in chunks:
        for choice in chunk["choices"]:
            if choice["index"] != index:
                continue
            assert reason is None, "something comes after the end"
            reason = choice["finish_reason"]
            entries += (choice["logprobs"] or {}).get("content", [])
            for name, value in choice["delta"].items():
                if name != "tool_calls":
                    message[name] = message.get(name, "") + value
                    continue
                for delta in value:
                    _add_call(calls, delta)
    return {"message": message, "calls": calls, "entries": entries, "finish_reason": reason}


def _add_call(calls: list[dict[str, Any]], delta: dict[str, Any]) -> None:
    if delta["index"] == len(calls):
        assert delta["type"] == "function" and delta["id"] and delta["function"]["name"]
        calls.append({"id": delta["id"], "type": "function", "function": dict(delta["function"])})
        return
    assert delta.keys() == {"index", "function"} and delta["function"].keys() == {"arguments"}
    calls[delta["index"]]["function"]["arguments"] += delta["function"]["arguments"]


def _told(prompt: tuple[int, ...]) -> bytes:
    text = bytes(token for token in prompt if token < 256)
    told = text.rpartition(b"SAY:")[2].partition(b".")[0]
    return bytes.fromhex(told.decode())
