"""What the filters keep, in numbers that a person can check."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.params import SamplingParams
from worker.llama.sampling.candidates import Candidates
from worker.llama.sampling.chain import truncate
from worker.llama.sampling.draw import pick
from worker.llama.sampling.fewest import fewest
from worker.llama.sampling.mirostat import MirostatV1, MirostatV2
from worker.llama.sampling.rows import Row, largest
from worker.llama.sampling.xtc import xtc

ROW: Row = np.log(np.array([0.1, 0.4, 0.05, 0.25, 0.2], np.float32))


def allowed(row: Row = ROW, **params: Any) -> set[int]:
    kept = truncate(Candidates(row), SamplingParams(**params), with_xtc=False)
    return {kept.token(at) for at in range(len(kept))}


def test_each_keeps_the_likeliest() -> None:
    assert allowed() == {0, 1, 2, 3, 4}
    assert allowed(top_k=2) == {1, 3}
    assert allowed(top_k=99) == {0, 1, 2, 3, 4}
    assert allowed(top_p=0.6) == {1, 3}
    assert allowed(top_p=0.7) == {1, 3, 4}
    assert allowed(top_p=0.0) == {1}
    assert allowed(min_p=0.49) == {1, 3, 4}
    assert allowed(min_p=1.0) == {1}
    assert allowed(top_k=3, top_p=0.5) == {1, 3}


def test_the_temperature_does_not_change_what_the_filters_keep() -> None:
    assert allowed(top_p=0.6, temperature=2.0) == allowed(top_p=0.6, temperature=0.1) == {1, 3}


def test_typical_prefers_the_expected_to_the_likeliest() -> None:
    row = np.log(np.array([0.4, 0.12, 0.12, 0.12, 0.12, 0.12], np.float32))
    assert allowed(row, typical_p=0.5) == {1, 2, 3, 4, 5}


def test_xtc_leaves_only_the_last_of_the_top() -> None:
    kept = xtc(Candidates(ROW), 0.19)
    assert {kept.token(at) for at in range(len(kept))} == {0, 2, 4}
    assert len(xtc(Candidates(ROW), 0.3)) == 5


@pytest.mark.parametrize("kind", [MirostatV1, MirostatV2])
def test_mirostat_lets_more_through_after_the_expected(kind: Any) -> None:
    row = np.random.default_rng(3).normal(0, 3, 4000).astype(np.float32)
    mirostat = kind(tau=3.0, eta=0.5)
    before = len(mirostat.keep(Candidates(row)))
    mirostat.observe(0.99)
    assert len(mirostat.keep(Candidates(row))) > before
    for _ in range(20):
        mirostat.observe(1e-6)
    assert len(mirostat.keep(Candidates(row))) == 1


@pytest.mark.parametrize("kind", [MirostatV1, MirostatV2])
@pytest.mark.parametrize("values", [[0.0], [0.0] * 500, [0.0, -np.inf, -np.inf], [90.0, -90.0]])
def test_mirostat_keeps_something_of_the_oddest_rows(kind: Any, values: list[float]) -> None:
    row = np.array(values, np.float32)
    for tau in (0.0, 5.0, 100.0):
        assert 1 <= len(kind(tau, 0.1).keep(Candidates(row))) <= len(row)


@given(st.integers(1, 20_000), st.integers(1, 600), st.integers(0, 1000), st.booleans())
def test_largest_are_the_largest(size: int, count: int, seed: int, has_ties: bool) -> None:
    values = np.random.default_rng(seed).normal(0, 2, size).astype(np.float32)
    if has_ties:
        values = np.round(values)
    found = largest(values, count)
    assert len(found) == len(set(found.tolist())) == min(count, size)
    assert sorted(values[found]) == sorted(values)[-count:]


@given(st.integers(1, 3000), st.floats(0.001, 1.0), st.integers(0, 1000))
def test_fewest_are_the_nearest_that_suffice(size: int, share: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    keys = np.abs(random.normal(0, 3, size)).astype(np.float32)
    weights = random.random(size).astype(np.float32)
    enough = share * float(weights.sum(dtype=np.float64))
    chosen = fewest(keys, weights, enough, "left")
    assert weights[chosen].sum(dtype=np.float64) >= enough * (1 - 1e-6)
    assert sorted(keys[chosen]) == sorted(keys)[: len(chosen)]
    last = chosen[keys[chosen].argmax()]
    assert weights[chosen].sum(dtype=np.float64) - weights[last] <= enough * (1 + 1e-6)


@given(st.integers(1, 2000), st.floats(0.0, 1.0), st.integers(0, 1000))
def test_pick_is_where_the_running_sum_passes_the_share(size: int, share: float, seed: int) -> None:
    weights = np.random.default_rng(seed).random(size).astype(np.float32)
    sums = np.cumsum(weights, dtype=np.float64)
    at = pick(weights, share)
    assert sums[at] >= share * sums[-1] * (1 - 1e-6)
    assert at == 0 or sums[at - 1] <= share * sums[-1] * (1 + 1e-6)
