from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from worker.engine.events import TopLogprob
from worker.self_test.compare import TOLERANCE, compare_closely, compare_exactly
from worker.self_test.trace import Step, Trace

logprobs = st.floats(-6.0, -0.01)


def step(token: int, logprob: float, **others: float) -> Step:
    """`others` are the runners-up: `t5=-2.0` is token 5."""
    top = [TopLogprob(token, b"x", logprob)]
    top += [TopLogprob(int(name[1:]), b"y", value) for name, value in others.items()]
    return Step(token, b"x", logprob, tuple(top))


def trace(*steps: Step) -> Trace:
    return Trace(steps)


def test_equal_answers_are_equal() -> None:
    one = trace(step(1, -0.5, t2=-1.5), step(3, -0.1))
    assert compare_exactly(one, one).difference == ""
    assert compare_closely(one, one).max_delta == 0.0
    assert compare_closely(one, one).num_tokens == 2


def test_one_bit_is_a_difference_only_where_it_must_not_be() -> None:
    one, other = trace(step(1, -0.5)), trace(step(1, math.nextafter(-0.5, 0)))
    assert "the log-probability of 1 'x' is -0.5" in compare_exactly(one, other).difference
    assert compare_closely(one, other).difference == ""


def test_a_near_tie_may_turn_and_ends_the_comparison() -> None:
    one = trace(step(1, -0.70, t2=-0.71), step(5, -0.1))
    other = trace(step(2, -0.69, t1=-0.72), step(9, -5.0))
    assert compare_closely(one, other).difference == ""
    assert compare_closely(one, other).num_tokens == 0
    assert "token 0 is 2" in compare_exactly(one, other).difference


def test_another_token_without_a_near_tie_is_a_difference() -> None:
    one, other = trace(step(1, -0.1, t2=-3.0)), trace(step(2, -0.2, t1=-2.0))
    assert compare_closely(one, other).difference == (
        "token 0 is 2 'x' at -0.2, alone 1 'x' at -0.1, no near tie"
    )
    assert "no near tie" in compare_closely(one, trace(step(7, -0.2))).difference


def test_a_log_probability_that_moved_too_far_is_a_difference() -> None:
    one, other = trace(step(1, -0.1, t2=-3.0)), trace(step(1, -0.1, t2=-4.0))
    found = compare_closely(one, other)
    assert found.max_delta == 1.0
    assert found.difference == (
        "token 0 1 'x': the log-probability of 2 'y' is -4, alone -3, more than 0.5 apart"
    )


def test_the_tail_is_not_compared() -> None:
    one, other = trace(step(1, -0.1, t2=-9.0)), trace(step(1, -0.1, t2=-12.0))
    assert compare_closely(one, other).difference == ""


def test_what_is_not_a_number_is_a_difference() -> None:
    one, other = trace(step(1, -0.1)), trace(step(1, math.nan))
    assert compare_closely(one, other).difference
    assert compare_exactly(one, other).difference


def test_a_shorter_answer_is_a_difference() -> None:
    one = trace(step(1, -0.1), step(2, -0.1))
    assert compare_exactly(one, trace(step(1, -0.1))).difference == (
        "the answer has 1 tokens, not 2"
    )


@given(st.lists(st.tuples(logprobs, logprobs, st.floats(-TOLERANCE, TOLERANCE)), max_size=8))
def test_noise_within_the_tolerance_is_never_a_difference(
    values: list[tuple[float, float, float]],
) -> None:
    one = trace(*(step(at, a, t99=b) for at, (a, b, _) in enumerate(values)))
    other = trace(*(step(at, a + n, t99=b) for at, (a, b, n) in enumerate(values)))
    assert compare_closely(one, other, TOLERANCE + 1e-9).difference == ""


@given(st.lists(logprobs, min_size=1, max_size=8), st.data())
def test_whatever_is_beyond_it_is_found_where_it_is(
    values: list[float], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(values) - 1))
    one = trace(*(step(7, value) for value in values))
    moved = [value - (1.0 if i >= at else 0.0) for i, value in enumerate(values)]
    found = compare_closely(one, trace(*(step(7, value) for value in moved)))
    assert found.num_tokens == at and found.difference.startswith(f"token {at} ")
