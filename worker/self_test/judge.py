"""What the answers under one circumstance come to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import NamedTuple

from worker.engine.blocks import CELLS_PER_BLOCK
from worker.self_test.compare import Comparison, compare_closely, compare_exactly
from worker.self_test.result import Check, Verdict
from worker.self_test.trace import Question, Trace


class Expectation(Enum):
    """What must have been reused for the check to mean anything."""

    NOTHING = auto()
    CACHED = auto()
    RESTORED = auto()


class Answered(NamedTuple):
    """A question, its answer alone, and its answer under the circumstance."""

    question: Question
    alone: Trace
    trace: Trace


def judge(
    name: str,
    kind: str,
    answered: Sequence[Answered],
    expectation: Expectation,
    tolerance: float,
) -> Check:
    """Everything of one kind that was answered under one circumstance."""
    num_tokens, largest, difference = 0, 0.0, ""
    for one in answered:
        done = _compare(one, tolerance)
        num_tokens += done.num_tokens
        largest = max(largest, done.max_delta)
        if done.difference and not difference:
            size = len(one.question.prompt)
            difference = f"prompt {one.question.number} of {size} tokens: {done.difference}"
    times = [one.trace.timings for one in answered]
    check = Check(
        name,
        kind,
        Verdict.FAILED if difference else Verdict.PASSED,
        requests=len(answered),
        tokens=num_tokens,
        max_delta=largest,
        prompt_tokens=sum(time.prompt_tokens for time in times),
        cached_tokens=sum(time.cached_tokens for time in times),
        restored_tokens=sum(time.restored_tokens for time in times),
        detail=difference,
    )
    return check if difference else _check_reuse(check, answered, expectation)


def _check_reuse(check: Check, answered: Sequence[Answered], expectation: Expectation) -> Check:
    """What was to be reused and was not makes an answer that proves nothing."""
    is_tried = any(len(one.question.prompt) > CELLS_PER_BLOCK for one in answered)
    if expectation is Expectation.RESTORED and check.restored_tokens == 0:
        if is_tried:
            reason = "nothing was restored; every token was computed again"
            return replace(check, verdict=Verdict.FAILED, detail=reason)
        return replace(check, verdict=Verdict.SKIPPED, detail="no prompt is longer than a block")
    if expectation is Expectation.CACHED and check.cached_tokens == 0:
        reason = "nothing was found in the cache"
        return replace(check, verdict=Verdict.SKIPPED, detail=reason)
    return check


def _compare(answered: Answered, tolerance: float) -> Comparison:
    alone, trace = answered.alone, answered.trace
    if error := alone.error or trace.error:
        return Comparison(0, 0.0, error)
    for at, step in enumerate(trace.steps):
        if not math.isfinite(step.logprob):
            return Comparison(at, math.inf, f"token {at} has the log-probability {step.logprob}")
    if answered.question.reproducible:
        return compare_exactly(alone, trace)
    return compare_closely(alone, trace, tolerance)
