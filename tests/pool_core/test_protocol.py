"""The protocol's lines: what is written can be read, and nothing else is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_core.errors import ExitCode
from pool_core.events import Heartbeat, Log, Progress
from pool_core.protocol import (
    Op,
    ProgressThrottle,
    ProtocolError,
    Request,
    VersionSkew,
    hello,
    op_line,
    parse_op,
)

ANY_TEXT = st.text()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
    max_leaves=5,
)


@given(
    argv=st.lists(ANY_TEXT).map(tuple),
    opts=st.dictionaries(ANY_TEXT, JSON),
    secrets=st.dictionaries(ANY_TEXT, ANY_TEXT),
)
def test_a_request_arrives_as_it_was_sent(
    argv: tuple[str, ...], opts: dict[str, object], secrets: dict[str, str]
) -> None:
    request = Request(argv, id="01J", opts=opts, secrets=secrets)
    line = request.to_json()
    assert "\n" not in line
    assert Request.from_json(line) == request


@given(st.text() | JSON.map(json.dumps) | st.binary())
def test_anything_else_is_a_protocol_error_and_nothing_worse(line: str | bytes) -> None:
    with pytest.raises((ProtocolError, VersionSkew)):
        Request.from_json(line)


@pytest.mark.parametrize(
    "record",
    [
        {"v": 1},
        {"v": 1, "argv": "worker list"},
        {"v": 1, "argv": ["worker", 1]},
        {"v": 1, "argv": [], "opts": []},
        {"v": 1, "argv": [], "secrets": "x"},
        {"argv": []},
    ],
)
def test_a_field_of_the_wrong_kind_is_named(record: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        Request.from_json(json.dumps(record))


@pytest.mark.parametrize("version", [0, 2, 99])
def test_another_protocol_version_is_its_own_error(version: int) -> None:
    with pytest.raises(VersionSkew) as failure:
        Request.from_json(json.dumps({"v": version, "client": "9.9", "argv": 7}))
    assert failure.value.exit_code is ExitCode.VERSION
    assert "9.9" in failure.value.message


def test_secrets_do_not_show_when_a_request_is_printed() -> None:
    assert "hf_x" not in repr(Request(("models",), secrets={"hf_token": "hf_x"}))


def test_operations_are_known_or_passed_over() -> None:
    assert parse_op(op_line(Op.CANCEL)) is Op.CANCEL
    assert parse_op('{"op":"dance"}') is None
    for line in ("", "[]", "7", '{"no":1}', "cancel"):
        with pytest.raises(ProtocolError):
            parse_op(line)


def test_progress_is_thinned_and_its_end_is_kept() -> None:
    now = 0.0
    throttle = ProgressThrottle(lambda: now)
    sent = 0
    for step in range(1000):
        now = step / 1000
        sent += len(throttle.pass_through(Progress("a", step, 1000)))
    assert 9 <= sent <= 11
    end = Progress("a", 1000, 1000)
    assert throttle.pass_through(end) == [end]
    assert throttle.pass_through(Heartbeat()) == [Heartbeat()]  # nothing older comes after it


def test_what_was_held_back_goes_before_the_next_word() -> None:
    throttle = ProgressThrottle(lambda: 0.0)
    assert throttle.pass_through(Progress("a", 1, 9)) == [Progress("a", 1, 9)]
    assert throttle.pass_through(Progress("b", 1, 9)) == [Progress("b", 1, 9)]
    assert throttle.pass_through(Progress("a", 2, 9)) == []
    assert throttle.pass_through(Progress("a", 3, 9)) == []
    assert throttle.pass_through(Log("x")) == [Progress("a", 3, 9), Log("x")]
    assert throttle.pass_through(Log("y")) == [Log("y")]


def test_hello_says_who_answers() -> None:
    assert hello().proto == (1, 1)
    assert hello().version and hello().python and hello().os and hello().arch
