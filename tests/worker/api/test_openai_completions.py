"""`/v1/completions` over a scripted model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.runner import BOS, ByteVocab, FakeRunner
from tests.rigs.api_server import ApiServer, serve_api
from tests.rigs.http import call, eventually, open_stream

URL = "/v1/completions"
ASK: dict[str, Any] = {"model": "fake", "prompt": "The capital of France is "}
STREAM = ASK | {"stream": True}


def choices(server: ApiServer, **changes: Any) -> list[dict[str, Any]]:
    answer = call(server.url, URL, ASK | changes)
    assert answer.status == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["choices"]
    return found


def choice(server: ApiServer, **changes: Any) -> dict[str, Any]:
    (only,) = choices(server, **changes)
    return only


@pytest.fixture(scope="module")
def echo() -> Iterator[ApiServer]:
    """A server whose model says its prompt again, BOS aside, and then stops."""
    with serve_api(FakeRunner(lambda prompt: [t for t in prompt if t < 256])) as server:
        yield server


def test_whole_answer_has_openais_shape(server: ApiServer) -> None:
    answer = call(server.url, URL, ASK).json()
    assert answer.pop("id").startswith("cmpl-")
    assert answer.pop("created") > 1_700_000_000
    assert answer.pop("timings")["predicted_n"] == 6
    usage = answer.pop("usage")
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (26, 6)
    assert answer == {
        "object": "text_completion",
        "model": "fake",
        "system_fingerprint": "fake 1",
        "choices": [{"text": "Paris.", "index": 0, "logprobs": None, "finish_reason": "stop"}],
    }


def test_stream_ends_with_the_reason_then_usage_then_done(server: ApiServer) -> None:
    ask = STREAM | {"stream_options": {"include_usage": True}}
    *chunks, usage, done = call(server.url, URL, ask).events
    assert done == "[DONE]"
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "Paris."
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] == "stop"
    assert {chunk["usage"] for chunk in chunks} == {None}
    assert usage["choices"] == [] and usage["usage"]["completion_tokens"] == 6


def test_a_prompt_is_text_or_tokens_or_several_of_them(echo: ApiServer) -> None:
    assert [one["text"] for one in choices(echo, prompt=["ab", "cd"])] == ["ab", "cd"]
    assert choice(echo, prompt=[BOS, 120, 121])["text"] == "xy"
    listed = choices(echo, prompt=[[120], [121, 122]], n=2)
    assert [(one["index"], one["text"]) for one in listed] == [
        (0, "x"),
        (1, "x"),
        (2, "yz"),
        (3, "yz"),
    ]


def test_usage_counts_each_prompt_once(echo: ApiServer) -> None:
    answer = call(echo.url, URL, ASK | {"prompt": [[120], [121, 122]], "n": 2}).json()
    assert answer["usage"]["prompt_tokens"] == 3
    assert answer["usage"]["completion_tokens"] == 6


@pytest.mark.parametrize("prompt", ["ab", [97, 98]])
def test_echo_puts_the_prompt_before_the_answer(echo: ApiServer, prompt: Any) -> None:
    assert choice(echo, prompt=prompt, echo=True)["text"] == "abab"
    assert choice(echo, prompt=prompt, echo=True, max_tokens=1)["text"] == "aba"
    nothing_new = choice(echo, prompt=prompt, echo=True, max_tokens=0)
    assert (nothing_new["text"], nothing_new["finish_reason"]) == ("ab", "length")


def test_echo_with_logprobs_has_those_of_the_prompt(server: ApiServer) -> None:
    """What lm-eval needs to compare answers."""
    ask = {"prompt": [32, 64, 97], "echo": True, "logprobs": 1, "max_tokens": 1}
    found = choice(server, **ask)["logprobs"]
    assert found == {
        "tokens": [" ", "@", "a", "P"],
        "token_logprobs": [None, -1.0, -97 / 64, -0.5],
        "top_logprobs": [None, {"a": -0.25, "@": -1.0}, {"a": -97 / 64}, {"P": -0.5}],
        "text_offset": [0, 1, 2, 3],
    }
    without_more = choice(server, **ask | {"max_tokens": 0})["logprobs"]
    assert without_more == {name: values[:3] for name, values in found.items()}


def test_tokens_that_are_parts_of_a_character_are_told_apart() -> None:
    with serve_api(FakeRunner("é!".encode())) as server:
        found = choice(server, logprobs=0)["logprobs"]
    assert found["tokens"] == ["bytes:\\xc3", "bytes:\\xa9", "!"]
    assert found["text_offset"] == [0, 0, 1]
    assert found["top_logprobs"][2] == {"!": -0.5}


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"stop": "is"},
        {"max_tokens": 3},
        {"logprobs": 1},
        {"echo": True},
        {"echo": True, "logprobs": 1},
        {"prompt": ["a", "b"], "n": 2, "echo": True, "logprobs": 0},
    ],
)
def test_stream_says_what_the_whole_answer_says(server: ApiServer, extra: dict[str, Any]) -> None:
    whole = call(server.url, URL, ASK | extra | {"seed": 1}).json()
    options = {"stream_options": {"include_usage": True}}
    *chunks, usage, _ = call(server.url, URL, STREAM | extra | options | {"seed": 1}).events
    for at, expected in enumerate(whole["choices"]):
        mine = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == at]
        assert "".join(one["text"] for one in mine) == expected["text"]
        assert mine[-1]["finish_reason"] == expected["finish_reason"]
        blocks = [one["logprobs"] for one in mine if one["logprobs"]]
        if expected["logprobs"] is None:
            assert not blocks
            continue
        for name, values in expected["logprobs"].items():
            assert [value for block in blocks for value in block[name]] == values
    assert usage["usage"]["total_tokens"] == whole["usage"]["total_tokens"]


def test_suffix_asks_for_what_is_between() -> None:
    class FillVocab(ByteVocab):
        size = 261
        fill_ids = (258, 259, 260)

    runner = FakeRunner(b"x")
    runner.vocab = FillVocab()
    with serve_api(runner) as server:
        assert choice(server, prompt="ab", suffix="cd")["text"] == "x"
        (prompt,) = {batch.items[0].seq.request.prompt for batch in runner.batches}
    assert prompt == (BOS, 258, *b"ab", 259, *b"cd", 260)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"prompt": None}, "prompt"),
    ({"prompt": 5}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": ["a", 5]}, "prompt"),
    ({"prompt": [[]]}, "prompt"),
    ({"prompt": [1.5]}, "prompt"),
    ({"prompt": [-1]}, "prompt"),
    ({"prompt": [True]}, "prompt"),
    ({"prompt": [999]}, "prompt"),
    ({"prompt": ["a", "b" * 5000]}, "prompt.1"),
    ({"prompt": ["a"] * 500}, "prompt"),
    ({"best_of": 3}, "best_of"),
    ({"suffix": "x"}, "suffix"),
    ({"suffix": "x", "echo": True}, "echo"),
    ({"suffix": "x", "prompt": [5]}, "suffix"),
    ({"logprobs": 21}, "logprobs"),
    ({"logprobs": True}, "logprobs"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 2049}, "max_tokens"),
    ({"temperature": 3}, "temperature"),
    ({"n": 0}, "n"),
    ({"echo": "yes"}, "echo"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
]


@pytest.mark.parametrize(("change", "param"), BAD, ids=lambda value: str(value)[:40])
def test_bad_field_is_refused_by_name(
    server: ApiServer, change: dict[str, Any], param: str
) -> None:
    answer = call(server.url, URL, ASK | change)
    assert answer.status == 400, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert param in error["message"]


def test_prompt_that_does_not_fit_has_openais_code(server: ApiServer) -> None:
    error = call(server.url, URL, ASK | {"prompt": [97] * 3000}).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "3000" in error["message"] and "2047" in error["message"]


def test_scores_of_a_client_that_leaves_are_not_waited_for() -> None:
    """The prompt of 1,000 tokens takes as many pieces, each beside a step of somebody else."""
    with serve_api(FakeRunner()) as server:
        server.runner.step_s = 0.01
        server.runner.gate.clear()
        ask = ASK | {"prompt": [97] * 1000, "echo": True, "logprobs": 1, "max_tokens": 900}
        connection = open_stream(server.url, URL, ask)
        eventually(lambda: server.engine.step_seconds > 0)
        connection.close()
        server.runner.gate.set()
        eventually(lambda: server.engine.stats().cancelled_total == 1)
        assert choice(server, prompt="a", max_tokens=2, echo=True, logprobs=1)["text"] == "aaa"
