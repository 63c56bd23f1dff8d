"""`/v1/embeddings` over a scripted model, whose vectors count bytes."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any

import pytest

from tests.fakes.runner import FakeRunner
from tests.rigs.api_server import ApiServer, serve_api
from tests.rigs.http import call, eventually, open_stream, read_rest
from worker.engine.runner import RunnerError

URL = "/v1/embeddings"
ASK: dict[str, Any] = {"model": "fake", "input": [96, 96, 97]}


def vectors(server: ApiServer, **changes: Any) -> list[Any]:
    answer = call(server.url, URL, ASK | changes)
    assert answer.status == 200, answer.text
    data = answer.json()["data"]
    assert [one["index"] for one in data] == list(range(len(data)))
    return [one["embedding"] for one in data]


def test_answer_has_openais_shape(server: ApiServer) -> None:
    answer = call(server.url, URL, ASK).json()
    (entry,) = answer.pop("data")
    assert answer == {
        "object": "list",
        "model": "fake",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
    assert (entry["object"], entry["index"]) == ("embedding", 0)
    expected = [2 / math.sqrt(5), 1 / math.sqrt(5), *[0] * 6]
    assert entry["embedding"] == pytest.approx(expected)


def test_input_is_text_or_tokens_or_several_of_them(server: ApiServer) -> None:
    text, several = vectors(server, input="ab"), vectors(server, input=["ab", "c"])
    assert several[0] == text[0] and len(several) == 2
    assert len(vectors(server, input=[[97], [98], [99, 100]])) == 3


def test_base64_is_the_same_numbers(server: ApiServer) -> None:
    (plain,) = vectors(server)
    (packed,) = vectors(server, encoding_format="base64")
    assert list(struct.unpack("<8f", base64.b64decode(packed))) == plain


def test_dimensions_cut_and_length_is_one_again(server: ApiServer) -> None:
    (vector,) = vectors(server, input=[96, 97, 98], dimensions=2)
    assert vector == pytest.approx([math.sqrt(0.5)] * 2)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": [999]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": ["a", [5]]}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 9}, "dimensions"),
        ({"dimensions": 0}, "dimensions"),
        ({"model": ""}, "model"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_field_is_refused_by_name(
    server: ApiServer, change: dict[str, Any], param: str
) -> None:
    answer = call(server.url, URL, ASK | change)
    assert (answer.status, answer.json()["error"]["param"]) == (400, param)


def test_text_that_does_not_fit_has_openais_code(server: ApiServer) -> None:
    error = call(server.url, URL, ASK | {"input": [97] * 3000}).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "3000" in error["message"] and "2048" in error["message"]


@pytest.mark.parametrize(("retriable", "status"), [(True, 503), (False, 500)])
def test_what_cannot_be_computed_is_an_error(retriable: bool, status: int) -> None:
    class Broken(FakeRunner):
        def embed(self, tokens: Any) -> Any:
            raise RunnerError("out of luck", code="BROKEN", retriable=retriable)

    with serve_api(Broken()) as server:
        answer = call(server.url, URL, ASK)
        assert (answer.status, answer.json()["error"]["code"]) == (status, "broken")


def test_who_generates_goes_on_beside_a_long_text() -> None:
    """Each piece of the text waits for a step of the others."""
    with serve_api(FakeRunner()) as server:
        server.runner.gate.clear()
        ask = {"model": "fake", "prompt": "x", "max_tokens": 50, "stream": True}
        with open_stream(server.url, "/v1/completions", ask) as stream:
            eventually(lambda: server.engine.step_seconds > 0)
            with open_stream(server.url, URL, ASK | {"input": [97] * 30}) as text:
                eventually(lambda: server.engine.is_computing)
                server.runner.gate.set()
                assert b'"embedding"' in read_rest(text)
            assert b"[DONE]" in read_rest(stream)
