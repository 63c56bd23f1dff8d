"""What is read of a body, and what no body may hold."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rigs.api_server import ApiServer
from tests.rigs.http import call
from worker.api.body import Body, LenientBody, read_body
from worker.api.errors import ApiError
from worker.api.json_check import MAX_DEPTH, MAX_VALUES, BadJson, check_json
from worker.limits import Limits

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


class Part(LenientBody):
    size: int


class Lenient(LenientBody):
    parts: list[Part] = []
    ratio: float = 1.0


class Strict(Body):
    parts: list[int] = []


class FakeRequest:
    """As much of a request as a body needs."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.headers: dict[str, str] = {}
        service = type("S", (), {"settings": type("T", (), {"limits": Limits()})})
        self.app = type("A", (), {"state": type("U", (), {"service": service})})

    async def stream(self) -> Any:
        yield self._body


async def read(kind: type[Body], body: bytes) -> Any:
    return await read_body(FakeRequest(body), kind)  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_lenient_bodies_ignore_what_they_do_not_know_at_any_depth() -> None:
    found = await read(Lenient, b'{"new":1,"parts":[{"size":2,"newer":{}}]}')
    assert found.parts[0].size == 2
    with pytest.raises(ApiError) as refused:
        await read(Strict, b'{"new":1}')
    assert refused.value.field == "new"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"parts":[{"size":"2"}]}', "parts.0.size"),
        (b'{"parts":[{"size":1},{"size":2.0}]}', "parts.1.size"),
        (b'{"parts":[{"size":true}]}', "parts.0.size"),
        (b'{"parts":[{}]}', "parts.0.size"),
        (b'{"ratio":"1"}', "ratio"),
        (b'{"ratio":NaN}', "ratio"),
        (b'{"ratio":-Infinity}', "ratio"),
        (b'{"ratio":1e400}', "ratio"),
        (b'{"other":[1e400]}', None),
        (b'{"other":18446744073709551616}', "other"),
    ],
)
async def test_types_stay_strict_and_the_field_is_named(body: bytes, field: str | None) -> None:
    with pytest.raises(ApiError) as refused:
        await read(Lenient, body)
    assert (refused.value.status, refused.value.field) == (400, field)


@given(PLAIN)
def test_what_everybody_reads_alike_is_let_through(value: Any) -> None:
    check_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"a":1,"b":{"c":1,"c":2}}', 'the key "c" twice'),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested more"),
        (b'{"a":' * 200_000, "nested more"),
        (b"[" + b"1," * MAX_VALUES + b"1]", "more than 300000 values"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        ('"é"'.encode("utf-16"), "not UTF-8"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b"01", "not JSON"),
        (b"'a'", "not JSON"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_parsers_differ_about_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(BadJson, match=reason):
        check_json(raw)


def test_brackets_and_commas_within_strings_are_text() -> None:
    check_json(json.dumps({"a": "[" * 10_000 + '\\"' + "{," * MAX_VALUES}).encode())
    check_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


@pytest.mark.anyio
async def test_a_list_full_of_mistakes_costs_no_more_than_one() -> None:
    started = time.perf_counter()
    with pytest.raises(ApiError) as refused:
        await read(Lenient, b'{"parts":[' + b"1," * 200_000 + b"1]}")
    assert refused.value.field == "parts.0"
    assert time.perf_counter() - started < 1.0


def test_megabytes_do_not_keep_others_waiting(server: ApiServer) -> None:
    body = json.dumps({"job_id": "j", "prompt": "x " * 3_000_000}).encode()
    assert call(server.url, "/execute", body).status == 400
    assert call(server.url, "/execute", b"[" * 50_000_000).status == 413
