"""Two answers to one prompt: are they the same, and where do they first differ?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from worker.engine.events import TopLogprob
from worker.self_test.trace import Step, Trace

# In nats. Cells of f16 in another order, and kernels chosen by the number of rows, move the
# log-probabilities of healthy models by up to 0.2, most where experts are chosen; a batch that
# mixes up its sequences, or a cache with tokens missing, moves them by whole nats.
TOLERANCE = 0.5
# What is less likely than that in both is not compared: the tail is all rounding.
_LEAST_LOGPROB = -7.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """`num_tokens` were compared, and their log-probabilities were apart by `max_delta` at most,
    in nats. `difference` is the first that may not be, in one line; "" when there is none."""

    num_tokens: int
    max_delta: float
    difference: str = ""


def compare_exactly(expected: Trace, found: Trace) -> Comparison:
    """Equal to the last bit of every log-probability."""
    for at, (one, other) in enumerate(zip(expected.steps, found.steps, strict=False)):
        if one != other:
            delta, what = _largest_delta(one, other)
            if one.token_id == other.token_id and what:
                line = f"token {at} {_name(one)}: the log-probability {what}"
            else:
                line = _other_token(at, one, other)
            return Comparison(at, delta, f"{line}, and must be equal")
    return _ending(expected, found, 0.0)


def compare_closely(expected: Trace, found: Trace, tolerance: float = TOLERANCE) -> Comparison:
    """Equal but for rounding, up to the first token where two were about as likely.

    From there the answers are of different texts, and nothing of them can be compared.
    """
    largest = 0.0
    for at, (one, other) in enumerate(zip(expected.steps, found.steps, strict=False)):
        delta, what = _largest_delta(one, other)
        largest = max(largest, delta)
        if one.token_id != other.token_id and _gap(one, other.token_id) > tolerance:
            return Comparison(at, largest, f"{_other_token(at, one, other)}, no near tie")
        if not delta <= tolerance:
            line = f"token {at} {_name(one)}: the log-probability {what}"
            return Comparison(at, largest, f"{line}, more than {tolerance:g} apart")
        if one.token_id != other.token_id:
            return Comparison(at, largest)
    return _ending(expected, found, largest)


def _ending(expected: Trace, found: Trace, largest: float) -> Comparison:
    lengths = len(expected.steps), len(found.steps)
    if lengths[0] != lengths[1]:
        line = f"the answer has {lengths[1]} tokens, not {lengths[0]}"
        return Comparison(min(lengths), largest, line)
    return Comparison(lengths[0], largest)


def _largest_delta(one: Step, other: Step) -> tuple[float, str]:
    """How far the log-probabilities are apart that both know, and the worst of them in words.

    Infinity where one of them is not a number.
    """
    after = {top.token_id: top.logprob for top in other.top} | {other.token_id: other.logprob}
    before = {top.token_id: top for top in one.top}
    before[one.token_id] = TopLogprob(one.token_id, one.raw, one.logprob)
    worst, words = 0.0, ""
    for token, top in before.items():
        if token not in after or max(top.logprob, after[token]) < _LEAST_LOGPROB:
            continue
        delta = abs(top.logprob - after[token])
        if math.isnan(delta):
            delta = math.inf
        if delta > worst:
            worst = delta
            words = f"of {_token(token, top.raw)} is {after[token]:.6g}, alone {top.logprob:.6g}"
    return worst, words


def _gap(step: Step, token: int) -> float:
    """How much less likely than the chosen token this one was."""
    known = {top.token_id: top.logprob for top in step.top}
    return step.logprob - known[token] if token in known else math.inf


def _other_token(at: int, one: Step, other: Step) -> str:
    return (
        f"token {at} is {_name(other)} at {other.logprob:.6g}, "
        f"alone {_name(one)} at {one.logprob:.6g}"
    )


def _name(step: Step) -> str:
    return _token(step.token_id, step.raw)


def _token(token: int, raw: bytes) -> str:
    return f"{token} {raw.decode(errors='backslashreplace')!r}"
