from typing import Any

import pytest

from llorch_ctl.matrix.checks import find_fault, quote
from llorch_ctl.matrix.spec import Case


def fault_of(text: str, **checks: Any) -> str | None:
    return find_fault(Case.model_validate({"name": "c", "prompt": "p"} | checks), text)


@pytest.mark.parametrize(
    ("checks", "text"),
    [
        ({}, "anything"),
        ({"contains": "Paris"}, "It is Paris."),
        ({"contains": ["a", "b"]}, "ab"),
        ({"equals": "42"}, "\n42 "),
        ({"regex": "^[A-Z]"}, "\nAb"),
        ({"json": True}, 'Here: [1, {"a": 2}] and more'),
        ({"json": ["a"]}, '```json\n{"a": null}\n```'),
        ({"json": {"a": 1, "b": [2]}}, '{"b": [2], "a": 1, "c": 3}'),
        ({"json": False}, "no JSON"),
    ],
)
def test_a_right_answer_has_no_fault(checks: dict[str, Any], text: str) -> None:
    assert fault_of(text, **checks) is None


@pytest.mark.parametrize(
    ("checks", "text", "said"),
    [
        ({}, " \n", "the answer is empty"),
        ({"contains": ["a", "z"]}, "ab", 'expected "z" in it, got "ab"'),
        ({"equals": "42"}, "43", 'expected "42", got "43"'),
        ({"regex": "^b"}, "ab", 'expected a match of /^b/, got "ab"'),
        ({"json": True}, "{not json", 'expected JSON, got "{not json"'),
        ({"json": ["a"]}, "[1]", 'expected a JSON object, got "[1]"'),
        ({"json": ["a"]}, '{"b": 1}', 'expected the JSON member "a"'),
        ({"json": {"a": 1}}, '{"a": "1"}', 'expected "a" to be 1'),
    ],
)
def test_a_wrong_answer_says_what_was_expected(
    checks: dict[str, Any], text: str, said: str
) -> None:
    fault = fault_of(text, **checks)
    assert fault is not None and fault.startswith(said)


def test_a_quoted_text_is_one_short_line() -> None:
    shown = quote("line\n" * 50)
    assert len(shown) < 80 and "\n" not in shown and shown.endswith('…"')
