"""Guesses verified in the batch that computes them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.worker.llama.driving import sequence
from worker.engine.batch import Batch, BatchItem
from worker.engine.runner import Sample
from worker.llama.runner import LlamaRunner

SLOT = 3


def generate(runner: LlamaRunner, prompt: list[int], count: int, **params: Any) -> list[Sample]:
    """One token after the other."""
    seq = sequence(runner, prompt, **params)
    runner.release(SLOT)
    samples: list[Sample] = []
    ids, start = prompt, 0
    while len(samples) < count:
        samples += runner.decode(Batch([BatchItem(seq, SLOT, start, ids, True)]))[0]
        start, ids = start + len(ids), [samples[-1].token_id]
    return samples


def speculate(
    runner: LlamaRunner, prompt: list[int], count: int, guess: Any, **params: Any
) -> tuple[list[Sample], int]:
    """The same with the guesses of `guess(samples so far)`; also in how many steps."""
    seq = sequence(runner, prompt, **params)
    runner.release(SLOT)
    samples = runner.decode(Batch([BatchItem(seq, SLOT, 0, prompt, True)]))[0]
    steps = 1
    while len(samples) < count:
        held = len(prompt) + len(samples) - 1
        drafts = guess(samples)
        item = BatchItem(seq, SLOT, held, [samples[-1].token_id, *drafts], True, len(drafts))
        chosen = runner.decode(Batch([item]))[0]
        assert 1 <= len(chosen) <= 1 + len(drafts)
        assert [sample.token_id for sample in chosen[:-1]] == drafts[: len(chosen) - 1]
        samples += chosen
        runner.trim(SLOT, held + len(chosen))
        steps += 1
    return samples[:count], steps


@pytest.fixture
def prompt(llama: LlamaRunner) -> list[int]:
    return llama.vocab.tokenize("Count from 3 to 9", add_special=True, parse_special=False)


@pytest.mark.parametrize(
    "params", [{}, {"temperature": 0.8, "seed": 4}, {"repetition_penalty": 1.3}]
)
def test_right_guesses_save_steps_and_change_nothing(
    llama: LlamaRunner, prompt: list[int], params: dict[str, Any]
) -> None:
    alone = [sample.token_id for sample in generate(llama, prompt, 20, **params)]
    samples, steps = speculate(
        llama, prompt, 20, lambda done: alone[len(done) : len(done) + 6], **params
    )
    assert [sample.token_id for sample in samples] == alone
    assert steps <= 4


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(wrong=st.lists(st.integers(0, 7), min_size=1, max_size=8), seed=st.integers(0, 3))
def test_wrong_guesses_change_nothing(
    llama: LlamaRunner, prompt: list[int], wrong: list[int], seed: int
) -> None:
    """Guesses of which the n-th is wrong, for n as drawn; 7 leaves all six right."""
    params = {"temperature": 0.7, "seed": seed}
    alone = [sample.token_id for sample in generate(llama, prompt, 16, **params)]
    turn = iter(wrong * 16)

    def guess(done: list[Sample]) -> list[int]:
        drafts = alone[len(done) : len(done) + 6]
        at = next(turn)
        if at < len(drafts):
            drafts[at] ^= 1
        return drafts

    samples, _ = speculate(llama, prompt, 16, guess, **params)
    assert [sample.token_id for sample in samples] == alone


def test_drafts_have_log_probabilities(llama: LlamaRunner, prompt: list[int]) -> None:
    alone = generate(llama, prompt, 8, logprobs=2)
    ids = [sample.token_id for sample in alone]
    samples, _ = speculate(llama, prompt, 8, lambda done: ids[len(done) :][:3], logprobs=2)
    for sample, expected in zip(samples, alone, strict=True):
        assert sample.logprob == pytest.approx(expected.logprob, abs=0.02)
        assert len(sample.top_logprobs) == 2


def test_items_with_and_without_guesses_go_together(llama: LlamaRunner, prompt: list[int]) -> None:
    alone = [sample.token_id for sample in generate(llama, prompt, 4)]
    seqs = [sequence(llama, prompt) for _ in range(3)]
    for slot in (5, 6, 7):
        llama.release(slot)
    first = llama.decode(
        Batch([BatchItem(seqs[0], 5, 0, prompt, True), BatchItem(seqs[1], 6, 0, prompt, True)])
    )
    assert [[s.token_id for s in samples] for samples in first] == [alone[:1]] * 2
    start = len(prompt)
    second = llama.decode(
        Batch(
            [
                BatchItem(seqs[0], 5, start, alone[:3], True, 2),
                BatchItem(seqs[2], 7, 0, prompt[:2], False),
                BatchItem(seqs[1], 6, start, alone[:1], True),
            ]
        )
    )
    assert [[s.token_id for s in samples] for samples in second] == [alone[1:4], alone[1:2]]
    assert llama.num_cached(7) == 2
    for slot in (5, 6, 7):
        llama.release(slot)
