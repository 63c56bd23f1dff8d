import pytest
from hypothesis import given
from hypothesis import strategies as st

from llorch_ctl.matrix.parity import Comparison, Kind, compare
from llorch_ctl.matrix.trace import Token
from tests.llorch_ctl.matrix.builders import make_tokens

TOLERANCE = 0.05


def compared(expected: tuple[Token, ...], got: tuple[Token, ...]) -> Comparison:
    return compare(expected, got, TOLERANCE, 64)


def test_equal_answers_have_no_divergence() -> None:
    found = compared(make_tokens("a", "b"), make_tokens("a", "b"))
    assert (found.num_tokens, found.max_delta, found.divergence) == (2, 0.0, None)


def test_a_small_difference_is_measured_and_passes() -> None:
    found = compared(make_tokens("a", logprob=-0.10), make_tokens("a", logprob=-0.13))
    assert found.is_equal and found.max_delta == pytest.approx(0.03)


def test_the_first_log_probability_out_of_tolerance_diverges() -> None:
    expected = (*make_tokens("a", "b"), Token("c", 7, -0.2))
    got = (*make_tokens("a", "b"), Token("c", 7, -0.9))
    found = compared(expected, got)
    assert found.divergence is not None
    assert (found.divergence.kind, found.divergence.position) == (Kind.LOGPROB, 2)
    assert str(found.divergence) == (
        'token 2: "c" at -0.9000, expected "c" at -0.2000 (Δ 0.7000) after "ab"'
    )


def test_another_token_diverges_and_what_follows_is_not_compared() -> None:
    expected = (Token("x", 1, -0.01), Token("y", 2, -0.01))
    got = (Token("z", 3, -0.01), Token("y", 2, -5.0))
    found = compared(expected, got)
    assert found.divergence is not None
    assert (found.num_tokens, found.divergence.kind) == (1, Kind.TOKEN)
    assert not found.is_equal


def test_two_tokens_that_both_sides_hold_as_likely_are_a_tie() -> None:
    expected = (Token("x", 1, -0.69, {"1": -0.69, "3": -0.70}),)
    got = (Token("z", 3, -0.69, {"1": -0.71, "3": -0.69}),)
    found = compared(expected, got)
    assert found.divergence is not None and found.divergence.kind is Kind.TIE
    assert found.is_equal and found.max_delta == pytest.approx(0.02)


def test_a_token_that_only_one_side_holds_as_likely_is_no_tie() -> None:
    expected = (Token("x", 1, -0.01, {"1": -0.01, "3": -4.7}),)
    got = (Token("z", 3, -0.69, {"1": -0.71, "3": -0.69}),)
    assert not compared(expected, got).is_equal


@pytest.mark.parametrize("longer", ["expected", "got"])
def test_an_answer_that_ends_early_diverges_there(longer: str) -> None:
    short, long = make_tokens("a"), make_tokens("a", "b")
    found = compared(long, short) if longer == "expected" else compared(short, long)
    assert found.divergence is not None
    assert (found.divergence.kind, found.divergence.position) == (Kind.LENGTH, 1)
    assert "the end" in str(found.divergence)


def test_nothing_beyond_the_limit_is_compared() -> None:
    assert compare(make_tokens("a", "b"), make_tokens("a", "c"), TOLERANCE, 1).is_equal
    assert compare(make_tokens("a", "b"), make_tokens("a"), TOLERANCE, 1).divergence is None


@pytest.mark.parametrize("bad", [None, float("nan")])
def test_a_log_probability_that_is_none_cannot_pass(bad: float | None) -> None:
    found = compared(make_tokens("a"), (Token("a", 0, bad),))
    assert not found.is_equal


tokens = st.builds(
    Token,
    text=st.sampled_from(["a", "b"]),
    id=st.integers(0, 2),
    logprob=st.floats(-3, 0),
    likeliest=st.dictionaries(st.sampled_from("012"), st.floats(-3, 0)),
)


@given(st.lists(tokens, max_size=6), st.lists(tokens, max_size=6))
def test_the_order_of_the_two_sides_changes_no_verdict(one: list[Token], two: list[Token]) -> None:
    there, back = compare(one, two, TOLERANCE, 64), compare(two, one, TOLERANCE, 64)
    assert (there.num_tokens, there.is_equal) == (back.num_tokens, back.is_equal)
    assert there.max_delta == back.max_delta


@given(st.lists(tokens, max_size=8))
def test_an_answer_equals_itself(one: list[Token]) -> None:
    assert compare(one, one, TOLERANCE, 64).divergence is None
