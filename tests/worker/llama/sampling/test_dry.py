"""DRY and its breakers, as llama.cpp counts them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_cpp import llama_cpp as C

from tests.worker.llama.sampling import oracle
from worker.engine.params import SamplingParams
from worker.llama.sampling.breakers import Breakers
from worker.llama.sampling.dry import Dry
from worker.llama.vocab import LlamaVocab

WORDS = 'a b ab a:b\n: x" the cat sat on the mat. The cat sat: no *yes* end of end of'


def penalised(vocab: LlamaVocab, said: list[int], prompt: int, params: SamplingParams) -> Any:
    row = np.zeros(vocab.size, np.float32)
    dry = Dry(params, said[:prompt], Breakers(params.dry_sequence_breakers, vocab))
    for token in said[prompt:]:
        dry.note(token)
    dry.edit(row)
    return {int(token): float(row[token]) for token in np.flatnonzero(row)}


@settings(max_examples=200, deadline=None)
@given(
    picks=st.lists(st.integers(0, 7), max_size=80),
    seed=st.integers(0, 1000),
    allowed=st.integers(0, 4),
    window=st.sampled_from([1, 2, 9, 64, 500]),
    base=st.sampled_from([1.0, 1.2, 1.75, 60.0]),
    breakers=st.sampled_from([("\n", ":", '"', "*"), ("at",), ("end of",), ("zzz",)]),
)
def test_the_same_tokens_are_penalised_by_as_much(
    model: Any,
    vocab: LlamaVocab,
    picks: list[int],
    seed: int,
    allowed: int,
    window: int,
    base: float,
    breakers: tuple[str, ...],
) -> None:
    known = vocab.tokenize(WORDS, add_special=False, parse_special=False)
    some = np.random.default_rng(seed).choice(sorted(set(known)), 8).tolist()
    said = [some[pick] for pick in picks]
    params = SamplingParams(
        dry_multiplier=0.8,
        dry_base=base,
        dry_allowed_length=allowed,
        dry_penalty_last_n=window,
        dry_sequence_breakers=breakers,
    )
    ours = penalised(vocab, said, len(said) // 2, params)
    made = oracle.dry(C.llama_model_get_vocab(model), 0.8, base, allowed, window, breakers)
    with oracle.samplers(made) as chain:
        for token in said:
            C.llama_sampler_accept(made, token)
        theirs = oracle.apply(np.zeros(vocab.size, np.float32), chain).logit_of()
    theirs = {token: logit for token, logit in theirs.items() if logit}
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_a_breaker_may_lie_across_tokens(vocab: LlamaVocab) -> None:
    tokens = vocab.tokenize("on the mat", add_special=False, parse_special=False)
    breakers = Breakers(("on the mat",), vocab)
    window = np.array([tokens[0] * 0, *tokens, 5, 6])
    assert len(tokens) > 1
    assert breakers.unbroken(window) == 2
    assert not breakers.is_breaker(tokens[0])


def test_a_repeated_token_without_end_is_cheap_and_finite(vocab: LlamaVocab) -> None:
    params = SamplingParams(dry_multiplier=1.0, dry_penalty_last_n=-1)
    (found,) = penalised(vocab, [7] * 5000, 5000, params).values()
    assert -np.inf < found < -1e30
