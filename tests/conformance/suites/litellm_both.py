"""LiteLLM: as a library, and as a proxy that stands in front of the worker."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import litellm
import openai
import pytest

feature = pytest.mark.feature
PARIS = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather here",
        "parameters": {
            "type": "object",
            "properties": {"unit": {"enum": ["C", "F"]}},
            "required": ["unit"],
            "additionalProperties": False,
        },
    },
}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "city",
        "strict": True,
        "schema": WEATHER["function"]["parameters"],
    },
}
# A model this small does not know when it has called enough.
ONE_CALL: dict[str, Any] = {
    "tools": [WEATHER],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "max_tokens": 200,
}
PROXY_KEY = "sk-proxy"
_STARTS_WITHIN_S = 90.0


@pytest.fixture(params=["openai", "anthropic"])
def ask(request: pytest.FixtureRequest, server: Any) -> dict[str, Any]:
    """For `litellm.completion`, in both dialects."""
    return {
        "model": f"{request.param}/{server.model}",
        "api_base": server.v1 if request.param == "openai" else server.root,
        "api_key": server.key,
        "messages": PARIS,
        "max_tokens": 200,
        "temperature": 0,
        "num_retries": 0,
    }


@feature("answers")
def test_an_answer_with_its_usage(ask: dict[str, Any]) -> None:
    answer = litellm.completion(**ask)
    assert answer.choices[0].message.content == "Paris."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens > 5 and answer.usage.completion_tokens > 0


@feature("streams")
def test_a_stream(ask: dict[str, Any]) -> None:
    ask = ask | {"messages": [{"role": "user", "content": "Write a haiku about rain"}]}
    chunks = list(litellm.completion(**ask, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == litellm.completion(**ask).choices[0].message.content


@feature("tools")
def test_a_call(ask: dict[str, Any]) -> None:
    message = litellm.completion(**ask | ONE_CALL).choices[0].message
    assert json.loads(message.tool_calls[0].function.arguments)["unit"] in ("C", "F")
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "20"}
    turns = [*PARIS, message.model_dump(exclude_none=True), result]
    assert litellm.completion(**ask | {"messages": turns}, tools=[WEATHER]).choices


@feature("schemas")
def test_a_schema(ask: dict[str, Any]) -> None:
    answer = litellm.completion(**ask, response_format=SCHEMA)
    assert set(json.loads(answer.choices[0].message.content)) == {"unit"}


@feature("errors")
def test_errors_are_mapped(ask: dict[str, Any]) -> None:
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(**ask | {"api_key": "wrong"})
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(**ask | {"model": ask["model"].replace("ref-", "no-such-")})
    with pytest.raises(litellm.ContextWindowExceededError):
        long = [{"role": "user", "content": "river stone " * 40_000}]
        litellm.completion(**ask | {"messages": long})


@pytest.fixture(scope="module")
def proxy(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a proxy that calls the worker `local` and `local-anthropic`."""
    folder = tmp_path_factory.mktemp("proxy")
    models = [
        ("local", f"openai/{server.model}", server.v1),
        ("local-anthropic", f"anthropic/{server.model}", server.root),
    ]
    config = {
        "model_list": [
            {
                "model_name": name,
                "litellm_params": {"model": model, "api_base": base, "api_key": server.key},
            }
            for name, model, base in models
        ],
        "general_settings": {"master_key": PROXY_KEY},
        "litellm_settings": {"num_retries": 0, "telemetry": False},
    }
    (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("litellm")
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            [program, "--config", folder / "config.yaml", "--host", "127.0.0.1"]
            + ["--port", str(port), "--telemetry", "False"],
            env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
            stdout=log,
            stderr=log,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(f"{url}/health/liveliness", process, folder / "log")
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            late = time.monotonic() > deadline
            if late or process.poll() is not None:
                raise AssertionError(
                    f"the proxy does not start: {log.read_text()[-2000:]}"
                ) from None
        time.sleep(0.2)


@pytest.fixture(params=["local", "local-anthropic"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(proxy: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{proxy}/v1", api_key=PROXY_KEY, max_retries=0)


@feature("answers")
def test_an_answer_through_the_proxy(client: openai.OpenAI, name: str) -> None:
    answer = client.chat.completions.create(
        model=name, messages=PARIS, max_tokens=60, temperature=0
    )
    assert answer.choices[0].message.content == "Paris."
    assert answer.usage and answer.usage.prompt_tokens > 5


@feature("streams")
def test_a_stream_through_the_proxy(client: openai.OpenAI, name: str) -> None:
    chunks = client.chat.completions.create(
        model=name, messages=PARIS, max_tokens=60, temperature=0, stream=True
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Paris."


@feature("tools")
def test_a_call_through_the_proxy(client: openai.OpenAI, name: str) -> None:
    answer = client.chat.completions.create(model=name, messages=PARIS, **ONE_CALL)
    calls = answer.choices[0].message.tool_calls
    assert calls and json.loads(calls[0].function.arguments)["unit"] in ("C", "F")


@feature("answers")
def test_messages_through_the_proxy(proxy: str, name: str) -> None:
    """What Claude Code does when it is pointed at a proxy."""
    body = {"model": name, "messages": PARIS, "max_tokens": 60, "temperature": 0}
    request = urllib.request.Request(
        f"{proxy}/v1/messages",
        json.dumps(body).encode(),
        {"content-type": "application/json", "x-api-key": PROXY_KEY},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        message = json.load(reply)
    assert message["content"][0]["text"] == "Paris."
