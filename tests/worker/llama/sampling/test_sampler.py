from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

from worker.engine.params import SamplingParams
from worker.engine.runner import RunnerError
from worker.llama.sampling import Row, Sampler, logprobs

ROW: Row = np.log(np.array([0.1, 0.4, 0.05, 0.25, 0.2], np.float32))

EVERYTHING: dict[str, Any] = {
    "temperature": 0.9,
    "top_k": 400,
    "top_p": 0.95,
    "min_p": 0.001,
    "typical_p": 0.9,
    "repetition_penalty": 1.1,
    "presence_penalty": 0.2,
    "frequency_penalty": 0.1,
    "repeat_last_n": 5,
    "dry_multiplier": 0.8,
    "xtc_probability": 0.5,
    "logit_bias": ((3, 1.5), (4, -math.inf)),
}


def sampler(prompt: tuple[int, ...] = (), **params: Any) -> Sampler:
    return Sampler(SamplingParams(**params), prompt)


def rows(count: int, size: int = 3000, seed: int = 0) -> list[Row]:
    random = np.random.default_rng(seed)
    return [random.normal(0, 3, size).astype(np.float32) for _ in range(count)]


def test_temperature_zero_is_the_likeliest_token_whatever_else_is_set() -> None:
    assert sampler(top_p=0.01, seed=3).choose(ROW) == 1
    assert sampler(top_k=2, min_p=0.9, xtc_probability=1.0, mirostat=2).choose(ROW) == 1


def test_is_greedy_says_that_nothing_but_the_row_matters() -> None:
    assert sampler(top_k=3, seed=1).is_greedy
    for other in ({"temperature": 0.1}, {"presence_penalty": 1.0}, {"logit_bias": ((1, 1.0),)}):
        assert not sampler(**other).is_greedy


@pytest.mark.parametrize("mirostat", [0, 1, 2])
def test_the_row_is_left_as_it_was(mirostat: int) -> None:
    (row,) = rows(1)
    before = row.copy()
    row.flags.writeable = False
    it = sampler((1, 2), seed=1, mirostat=mirostat, **EVERYTHING)
    for _ in range(5):
        it.choose(row)
    assert (row == before).all()


@pytest.mark.parametrize("params", [{"temperature": 1.0}, EVERYTHING, EVERYTHING | {"mirostat": 1}])
def test_the_same_seed_gives_the_same_tokens_and_another_seed_others(params: Any) -> None:
    given = rows(40)

    def tokens(seed: int | None) -> list[int]:
        it = sampler((7, 8, 9), seed=seed, **params)
        return [it.choose(row) for row in given]

    assert tokens(7) == tokens(7)
    assert tokens(-1) == tokens((1 << 64) - 1)
    assert len({tuple(tokens(seed)) for seed in (1, 2, 3)}) == 3
    assert tokens(None) != tokens(None)


def test_how_many_random_numbers_a_choice_takes_does_not_depend_on_the_row() -> None:
    sharp = np.full(3000, -50.0, np.float32)
    sharp[5] = 50.0
    params = EVERYTHING | {"repetition_penalty": 1.0, "dry_multiplier": 0.0}
    params |= {"presence_penalty": 0.0, "frequency_penalty": 0.0}
    first, second = sampler(seed=3, **params), sampler(seed=3, **params)
    first.choose(sharp)
    second.choose(rows(1, seed=9)[0])
    later = rows(20, seed=4)
    assert [first.choose(row) for row in later] == [second.choose(row) for row in later]


def test_tokens_come_as_often_as_they_are_likely() -> None:
    it = sampler(temperature=1.0, seed=11)
    counts = Counter(it.choose(ROW) for _ in range(8000))
    for token, probability in enumerate(np.exp(ROW)):
        assert counts[token] / 8000 == pytest.approx(probability, abs=0.02)


def test_xtc_strikes_as_often_as_it_is_asked_to() -> None:
    it = sampler(temperature=1.0, seed=5, xtc_probability=0.25, xtc_threshold=0.19)
    share_of_best = Counter(it.choose(ROW) for _ in range(8000))[1] / 8000
    assert share_of_best == pytest.approx(0.75 * 0.4, abs=0.02)


def test_a_low_temperature_sharpens_and_a_high_one_flattens() -> None:
    def share_of_best(temperature: float) -> float:
        it = sampler(temperature=temperature, seed=2)
        return Counter(it.choose(ROW) for _ in range(2000))[1] / 2000

    assert share_of_best(0.5) > share_of_best(1.0) > share_of_best(2.0)


@pytest.mark.parametrize("mirostat", [0, 1, 2])
def test_the_least_temperature_is_as_good_as_none(mirostat: int) -> None:
    chosen = {
        sampler(temperature=5e-324, seed=seed, mirostat=mirostat).choose(ROW) for seed in range(9)
    }
    assert chosen == {1}


@pytest.mark.parametrize("params", [{}, {"temperature": 1.0}, EVERYTHING, {"mirostat": 2}])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_row_without_sense_is_an_error(params: dict[str, Any], value: float) -> None:
    row = ROW.copy()
    row[2] = value
    with pytest.raises(RunnerError) as caught:
        sampler(seed=1, **params).choose(row)
    assert caught.value.code == "NOT_A_NUMBER" and not caught.value.retriable


def test_repetition_penalty_counts_the_prompt_presence_and_frequency_do_not() -> None:
    assert sampler((1,), repetition_penalty=5.0).choose(ROW) == 3
    assert sampler((1,), presence_penalty=2.0).choose(ROW) == 1
    assert sampler((1,), frequency_penalty=2.0).choose(ROW) == 1


def test_with_a_window_all_penalties_count_its_tokens_of_prompt_and_answer() -> None:
    assert sampler((1,), presence_penalty=2.0, repeat_last_n=-1).choose(ROW) == 3
    assert sampler((1, 0), presence_penalty=2.0, repeat_last_n=2).choose(ROW) == 3
    assert sampler((1, 0), presence_penalty=2.0, repeat_last_n=1).choose(ROW) == 1
    assert sampler((1,), repetition_penalty=9.0, repeat_last_n=0).choose(ROW) == 1
    it = sampler((1,), repetition_penalty=9.0, repeat_last_n=1)
    assert [it.choose(ROW) for _ in range(4)] == [3, 1, 3, 1]


def test_penalties_work_with_greedy_and_grow_with_what_was_generated() -> None:
    it = sampler(presence_penalty=2.0)
    assert [it.choose(ROW) for _ in range(3)] == [1, 3, 4]
    it = sampler(frequency_penalty=0.3)
    assert [it.choose(ROW) for _ in range(4)] == [1, 1, 3, 1]


def test_a_repetition_penalty_pushes_down_positive_and_negative_logits() -> None:
    assert sampler((0,), repetition_penalty=2.0).choose(np.array([2, 1.5], np.float32)) == 1
    assert sampler((0,), repetition_penalty=2.0).choose(np.array([-1, -1.5], np.float32)) == 1


def test_a_bias_moves_a_token_and_an_infinite_one_bans_it() -> None:
    assert sampler(logit_bias=((2, 5.0),)).choose(ROW) == 2
    assert sampler(logit_bias=((1, -math.inf),)).choose(ROW) == 3
    it = sampler(logit_bias=((1, -math.inf), (3, -math.inf)), temperature=2.0, seed=1)
    assert {it.choose(ROW) for _ in range(200)} == {0, 2, 4}


@pytest.mark.parametrize("params", [EVERYTHING, {"temperature": 1.0}, {}])
def test_when_all_tokens_are_banned_one_comes_all_the_same(params: dict[str, Any]) -> None:
    banned = tuple((token, -math.inf) for token in range(5))
    assert 0 <= sampler(**params | {"logit_bias": banned}).choose(ROW) < 5


def test_dry_breaks_a_loop() -> None:
    loop = (0, 1, 2) * 4
    row = np.zeros(5, np.float32)
    row[[0, 3]] = 3.0, 2.9
    assert sampler(loop).choose(row) == 0
    assert sampler(loop, dry_multiplier=1.0).choose(row) == 3


def test_logprobs_are_natural_logs_of_the_softmax() -> None:
    row = ROW + np.float32(3.0)
    chosen, top = logprobs(row, 3, 2)
    assert chosen == pytest.approx(math.log(0.25), abs=1e-5)
    assert [token for token, _ in top] == [1, 3]
    assert [p for _, p in top] == pytest.approx([math.log(0.4), math.log(0.25)], abs=1e-5)
    assert logprobs(row, 0, 0)[1] == []
    assert len(logprobs(row, 0, 20)[1]) == len(row)
