from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.params import SamplingParams
from worker.engine.runner import RunnerError
from worker.llama.sampler import Row, Sampler, candidates, logprobs, pick

ROW: Row = np.log(np.array([0.1, 0.4, 0.05, 0.25, 0.2], np.float32))


def sampler(prompt: tuple[int, ...] = (), **params: Any) -> Sampler:
    return Sampler(SamplingParams(**params), prompt)


def allowed(row: Row = ROW, **params: Any) -> set[int]:
    params.setdefault("temperature", 1.0)
    ids, weights = candidates(row, SamplingParams(**params))
    assert weights.max() == 1.0
    return set(range(len(row)) if ids is None else map(int, ids))


def test_temperature_zero_is_the_likeliest_token_whatever_else_is_set() -> None:
    assert sampler(top_p=0.01, seed=3).choose(ROW) == 1
    assert sampler(top_k=2, min_p=0.9).choose(ROW) == 1


def test_the_row_is_left_as_it_was() -> None:
    row = ROW.copy()
    sampler((1, 2), temperature=1.0, repetition_penalty=1.5, seed=1).choose(row)
    assert (row == ROW).all()


def test_the_same_seed_gives_the_same_tokens_and_another_seed_others() -> None:
    def tokens(seed: int | None) -> list[int]:
        it = sampler(temperature=1.0, seed=seed)
        return [it.choose(ROW) for _ in range(40)]

    assert tokens(7) == tokens(7)
    assert tokens(-1) == tokens((1 << 64) - 1)
    assert len({tuple(tokens(seed)) for seed in (1, 2, 3)}) == 3
    assert tokens(None) != tokens(None)


def test_tokens_come_as_often_as_they_are_likely() -> None:
    it = sampler(temperature=1.0, seed=11)
    counts = Counter(it.choose(ROW) for _ in range(8000))
    for token, probability in enumerate(np.exp(ROW)):
        assert counts[token] / 8000 == pytest.approx(probability, abs=0.02)


def test_a_low_temperature_sharpens_and_a_high_one_flattens() -> None:
    def share_of_best(temperature: float) -> float:
        _, weights = candidates(ROW, SamplingParams(temperature=temperature))
        return float(weights.max() / weights.sum())

    assert share_of_best(0.5) > share_of_best(1.0) > share_of_best(2.0)


def test_the_least_temperature_is_as_good_as_none() -> None:
    assert {sampler(temperature=5e-324, seed=seed).choose(ROW) for seed in range(9)} == {1}


@given(st.integers(1, 2000), st.floats(0.0, 1.0), st.integers(0, 1000))
def test_pick_is_where_the_running_sum_passes_the_share(size: int, share: float, seed: int) -> None:
    weights = np.random.default_rng(seed).random(size).astype(np.float32)
    sums = np.cumsum(weights, dtype=np.float64)
    at = pick(weights, share)
    assert sums[at] >= share * sums[-1] * (1 - 1e-6)
    assert at == 0 or sums[at - 1] <= share * sums[-1] * (1 + 1e-6)


def test_top_k_top_p_and_min_p_keep_the_likeliest() -> None:
    assert allowed() == {0, 1, 2, 3, 4}
    assert allowed(top_k=2) == {1, 3}
    assert allowed(top_k=99) == {0, 1, 2, 3, 4}
    assert allowed(top_p=0.6) == {1, 3}
    assert allowed(top_p=0.7) == {1, 3, 4}
    assert allowed(top_p=0.0) == {1}
    assert allowed(min_p=0.49) == {1, 3, 4}
    assert allowed(min_p=1.0) == {1}
    assert allowed(top_k=3, top_p=0.5) == {1, 3}


@given(st.floats(0.01, 1.0), st.integers(600, 3000), st.integers(0, 1000))
def test_top_p_of_a_large_vocabulary_is_the_smallest_set_that_suffices(
    top_p: float, size: int, seed: int
) -> None:
    row = np.random.default_rng(seed).normal(0, 0.5, size).astype(np.float32)
    chosen = allowed(row, top_p=top_p)
    probabilities = np.exp(row.astype(np.float64) - row.max())
    probabilities /= probabilities.sum()
    mass = probabilities[list(chosen)].sum()
    smallest = probabilities[list(chosen)].min()
    assert mass >= top_p - 1e-4
    assert mass - smallest <= top_p + 1e-4
    rest = np.delete(probabilities, list(chosen))
    assert rest.size == 0 or rest.max() <= smallest + 1e-9


@pytest.mark.parametrize("params", [{}, {"temperature": 1.0}, {"temperature": 1.0, "top_k": 2}])
def test_a_row_that_is_not_a_number_is_an_error(params: dict[str, Any]) -> None:
    row = ROW.copy()
    row[2] = math.nan
    with pytest.raises(RunnerError) as caught:
        sampler(seed=1, **params).choose(row)
    assert caught.value.code == "NOT_A_NUMBER" and not caught.value.retriable


def test_repetition_penalty_counts_the_prompt_presence_and_frequency_do_not() -> None:
    assert sampler((1,), repetition_penalty=5.0).choose(ROW) == 3
    assert sampler((1,), presence_penalty=2.0).choose(ROW) == 1
    assert sampler((1,), frequency_penalty=2.0).choose(ROW) == 1


def test_penalties_work_with_greedy_and_grow_with_what_was_generated() -> None:
    it = sampler(presence_penalty=2.0)
    assert [it.choose(ROW) for _ in range(3)] == [1, 3, 4]
    it = sampler(frequency_penalty=0.3)
    assert [it.choose(ROW) for _ in range(4)] == [1, 1, 3, 1]


def test_a_repetition_penalty_pushes_down_positive_and_negative_logits() -> None:
    assert sampler((0,), repetition_penalty=2.0).choose(np.array([2, 1.5], np.float32)) == 1
    assert sampler((0,), repetition_penalty=2.0).choose(np.array([-1, -1.5], np.float32)) == 1


def test_logprobs_are_natural_logs_of_the_softmax() -> None:
    row = ROW + np.float32(3.0)
    chosen, top = logprobs(row, 3, 2)
    assert chosen == pytest.approx(math.log(0.25), abs=1e-5)
    assert [token for token, _ in top] == [1, 3]
    assert [p for _, p in top] == pytest.approx([math.log(0.4), math.log(0.25)], abs=1e-5)
    assert logprobs(row, 0, 0)[1] == []
    assert len(logprobs(row, 0, 20)[1]) == len(row)
