"""Each filter leaves what llama.cpp's leaves, with the same probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from llama_cpp import llama_cpp as C

from tests.worker.llama.sampling.oracle import Survivors, apply, biased, filtered, samplers
from worker.engine.params import SamplingParams
from worker.llama.sampling.bias import LogitBias
from worker.llama.sampling.candidates import Candidates
from worker.llama.sampling.chain import truncate
from worker.llama.sampling.min_p import min_p
from worker.llama.sampling.mirostat import Mirostat, MirostatV1, MirostatV2
from worker.llama.sampling.penalties import Penalties
from worker.llama.sampling.rows import Row
from worker.llama.sampling.top_k import top_k
from worker.llama.sampling.top_p import top_p
from worker.llama.sampling.typical import typical
from worker.llama.sampling.xtc import xtc

Filter = Callable[[Candidates, float], Candidates]


@st.composite
def rows(draw: st.DrawFn, *, has_large: bool = True) -> Row:
    size = draw(st.integers(2, 300) | st.sampled_from([1025, 5000, 9000] if has_large else [300]))
    spread = draw(st.floats(0.5, 6.0))
    seed = draw(st.integers(0, 1 << 32))
    return np.random.default_rng(seed).normal(0, spread, size).astype(np.float32)


def ids_of(kept: Candidates) -> list[int]:
    return list(range(len(kept))) if kept.ids is None else kept.ids.tolist()


def agree(kept: Candidates, theirs: Survivors, temperature: float = 1.0) -> None:
    """The same tokens, as likely as with llama.cpp."""
    assert set(ids_of(kept)) == theirs.tokens
    weights = kept.weights(temperature).astype(np.float64)
    ours = dict(zip(ids_of(kept), weights / weights.sum(), strict=True))
    scores = theirs.logits.astype(np.float64)
    scores = np.exp(scores - scores.max())
    for token, probability in zip(theirs.ids.tolist(), scores / scores.sum(), strict=True):
        assert ours[token] == pytest.approx(probability, rel=1e-4, abs=1e-7)


def on_no_border(run: Filter, row: Row, value: float) -> None:
    """Where the cut is a matter of the last bit, both are right."""
    kept = set(ids_of(run(Candidates(row), value)))
    for near in (value * (1 - 1e-4), value * (1 + 1e-4)):
        assume(set(ids_of(run(Candidates(row), near))) == kept)


@settings(deadline=None)
@given(rows(), st.integers(1, 400))
def test_top_k(row: Row, k: int) -> None:
    agree(top_k(Candidates(row), k), filtered(row, C.llama_sampler_init_top_k(k)))


@settings(deadline=None)
@given(rows(), st.floats(0.01, 0.999))
def test_top_p(row: Row, p: float) -> None:
    on_no_border(top_p, row, p)
    agree(top_p(Candidates(row), p), filtered(row, C.llama_sampler_init_top_p(p, 0)))


@settings(deadline=None)
@given(rows(), st.floats(0.0001, 1.0))
def test_min_p(row: Row, p: float) -> None:
    on_no_border(min_p, row, p)
    agree(min_p(Candidates(row), p), filtered(row, C.llama_sampler_init_min_p(p, 0)))


@settings(deadline=None)
@given(rows(has_large=False), st.floats(0.01, 0.99))  # theirs adds up thousands in float32
def test_typical(row: Row, p: float) -> None:
    on_no_border(typical, row, p)
    agree(typical(Candidates(row), p), filtered(row, C.llama_sampler_init_typical(p, 0)))


@settings(deadline=None)
@given(rows(), st.floats(0.001, 0.5))
def test_xtc(row: Row, threshold: float) -> None:
    on_no_border(xtc, row, threshold)
    theirs = filtered(row, C.llama_sampler_init_xtc(1.0, threshold, 0, 1))
    agree(xtc(Candidates(row), threshold), theirs)
    by_likelihood = Candidates(row).sorted()
    assert set(ids_of(xtc(by_likelihood, threshold))) == theirs.tokens


@settings(deadline=None)
@given(
    rows(),
    st.integers(0, 80),
    st.floats(0.2, 1.0),
    st.floats(0.2, 1.0),
    st.floats(0.0, 0.4),
    st.floats(0.01, 0.6),
    st.floats(0.1, 2.0),
)
def test_the_whole_chain_in_its_order(
    row: Row, k: int, typical_p: float, p: float, least: float, threshold: float, heat: float
) -> None:
    k = max(k, 1) if len(row) > 1000 else k

    def ours(slack: float) -> Candidates:
        params = SamplingParams(
            top_k=k,
            typical_p=min(1.0, typical_p * slack),
            top_p=min(1.0, p * slack),
            min_p=least * slack,
            xtc_threshold=threshold * slack,
        )
        return truncate(Candidates(row), params, with_xtc=params.xtc_threshold <= 0.5)

    kept = ours(1.0)
    for slack in (1 - 1e-4, 1 + 1e-4):
        assume(set(ids_of(ours(slack))) == set(ids_of(kept)))
    theirs = filtered(
        row,
        C.llama_sampler_init_top_k(k),
        C.llama_sampler_init_typical(typical_p, 0),
        C.llama_sampler_init_top_p(p, 0),
        C.llama_sampler_init_min_p(least, 0),
        C.llama_sampler_init_xtc(1.0, threshold, 0, 1),
        C.llama_sampler_init_temp(heat),
    )
    agree(kept, theirs, heat)


@settings(deadline=None)
@given(
    rows(),
    st.lists(st.integers(0, 11), max_size=60),
    st.sampled_from([1, 3, 64, 1000]),
    st.floats(0.5, 2.0),
    st.floats(-2.0, 2.0),
    st.floats(-2.0, 2.0),
)
def test_penalties_with_a_window(
    row: Row, said: list[int], window: int, repeat: float, frequency: float, presence: float
) -> None:
    said = [token % len(row) for token in said]
    half = len(said) // 2
    params = SamplingParams(
        repetition_penalty=repeat,
        frequency_penalty=frequency,
        presence_penalty=presence,
        repeat_last_n=window,
    )
    ours = row.copy()
    penalties = Penalties(params, said[:half])
    for token in said[half:]:
        penalties.note(token)
    penalties.edit(ours)
    made = C.llama_sampler_init_penalties(len(row), window, repeat, frequency, presence)
    with samplers(made) as chain:
        for token in said:
            C.llama_sampler_accept(made, token)
        theirs = apply(row, chain)
    for token, logit in theirs.logit_of().items():
        assert ours[token] == pytest.approx(logit, rel=1e-5, abs=1e-5)


@settings(deadline=None)
@given(rows(), st.dictionaries(st.integers(0, 300), st.floats(-100, 100), max_size=9))
def test_logit_bias(row: Row, wanted: dict[int, float]) -> None:
    biases = [(token % len(row), bias) for token, bias in wanted.items()]
    biases = list(dict(biases).items())
    assume(biases)
    ours = row.copy()
    LogitBias(tuple(biases)).edit(ours)
    for token, logit in biased(row, biases).logit_of().items():
        assert ours[token] == pytest.approx(logit, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("version", [1, 2])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 32), tau=st.floats(1.0, 8.0), eta=st.floats(0.01, 0.5))
def test_mirostat_keeps_and_learns_the_same(
    version: int, seed: int, tau: float, eta: float
) -> None:
    size = 2000
    make: dict[int, tuple[type[MirostatV1] | type[MirostatV2], Callable[[], object]]] = {
        1: (MirostatV1, lambda: C.llama_sampler_init_mirostat(size, 7, tau, eta, 100)),
        2: (MirostatV2, lambda: C.llama_sampler_init_mirostat_v2(7, tau, eta)),
    }
    kind, made = make[version]
    ours: Mirostat = kind(tau, eta)
    random = np.random.default_rng(seed)
    with samplers(made()) as chain:
        for _ in range(8):
            row = random.normal(0, 3, size).astype(np.float32)
            kept = ours.keep(Candidates(row))
            theirs = apply(row, chain)
            tokens = theirs.ids.tolist()
            ours.observe(float(theirs.probabilities[tokens.index(theirs.selected)]))
            if len(kept) == size:  # more than theirs can count to: it keeps one
                assert len(tokens) in (1, size)
                continue
            # Near the border the last bit decides whether there is one more.
            assert abs(len(kept) - len(tokens)) <= 1
            assert set(tokens) ^ set(ids_of(kept)) <= {tokens[-1], *least_likely(kept)}
    assert math.isfinite(ours.mu)


def least_likely(kept: Candidates) -> list[int]:
    return [ids_of(kept)[int(kept.logits.argmin())]]
