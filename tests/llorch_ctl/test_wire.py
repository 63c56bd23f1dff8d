"""Events written by strangers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llorch_ctl.wire import BadLine, decode
from pool_core.events import Error, Event, Hello, Log, Progress, Result, State, Warning, to_json

_number = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60)
_data = st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text())
_events = st.one_of(
    st.builds(Progress, st.text(), _number, _number, st.text(), _number),
    st.builds(State, st.text(), st.text(), st.text()),
    st.builds(Log, st.text(), st.text(), st.text()),
    st.builds(Warning, st.text(), st.text()),
    st.builds(Result, st.booleans(), _data),
    st.builds(Error, st.text(), st.text(), st.none() | st.text(), st.integers(0, 255), _data),
    st.builds(Hello, st.tuples(st.integers(), st.integers()), st.text()),
)
_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner), max_leaves=5
)


@given(_events)
def test_what_a_pool_writes_is_read_back(event: Event) -> None:
    assert decode(to_json(event)) == event


@given(
    st.sampled_from(["hello", "progress", "state", "log", "warn", "result", "error", "hb", "?"]),
    st.dictionaries(
        st.sampled_from(["task", "done", "total", "msg", "data", "ok", "proto", "exit", "code"]),
        _json,
    ),
)
def test_anything_else_is_an_event_or_refused(kind: str, fields: dict[str, Any]) -> None:
    try:
        event = decode(json.dumps({"t": kind} | fields))
    except BadLine:
        return
    assert event is None or event.t == kind


@pytest.mark.parametrize(
    "line",
    [
        "",
        "hello",
        "[]",
        "[" * 200_000,
        '{"t":"progress"}',
        '{"t":"progress","task":"x","done":"1","total":2}',
        '{"t":"progress","task":"x","done":NaN,"total":2}',
        '{"t":"progress","task":"x","done":true,"total":2}',
        '{"t":"hello","proto":[1],"version":"1"}',
        '{"t":"hello","proto":"11","version":"1"}',
        '{"t":"result","ok":true,"data":[]}',
        '{"t":"error","code":"E","msg":"m","exit":"1"}',
        '{"t":"state","subject":{},"state":"x"}',
    ],
)
def test_lines_that_are_refused(line: str) -> None:
    with pytest.raises(BadLine):
        decode(line)


def test_an_unknown_type_and_unknown_fields_are_from_the_future() -> None:
    assert decode('{"t":"thought","depth":3}') is None
    assert decode('{"t":"log","msg":"m","colour":"red"}') == Log("m")
