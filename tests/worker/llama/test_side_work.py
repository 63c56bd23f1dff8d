"""Log-probabilities of prompts and vectors of texts, by reference models."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pytest

from tests.worker.llama.conftest import MODELS
from tests.worker.llama.driving import tokens
from tests.worker.llama.generation import ask
from worker.engine.runner import RunnerError
from worker.engine.side_work import Pieces
from worker.llama import side_context
from worker.llama.runner import LlamaRunner

Loaded = Callable[[str], LlamaRunner]
T = TypeVar("T")


def finish(pieces: Pieces[T]) -> tuple[T, int]:
    """The result, and how many pieces it took."""
    count = 0
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            result: T = end.value
            return result, count
        count += 1


@pytest.mark.parametrize("name", MODELS)
def test_what_a_model_said_is_as_likely_when_it_is_scored(loaded: Loaded, name: str) -> None:
    runner = loaded(name)
    answer = ask(runner, "What is the capital of France?", logprobs=2, max_tokens=8)
    prompt = runner.vocab.tokenize(
        "What is the capital of France?", add_special=True, parse_special=True
    )
    scored, _ = finish(runner.score([*prompt, *answer.ids], 2))
    assert scored[0].logprob is None and len(scored) == len(prompt) + len(answer.ids)
    for token, score in zip(answer.tokens, scored[len(prompt) :], strict=True):
        assert token.token_id == score.token_id
        assert score.logprob == pytest.approx(token.logprob, abs=0.05)
        assert score.top_logprobs[0].token_id == token.top_logprobs[0].token_id


def test_scores_are_the_same_each_time_and_come_in_pieces(llama: LlamaRunner) -> None:
    text = tokens(llama, 300)
    first, count = finish(llama.score(text, 1))
    finish(llama.score(tokens(llama, 500, seed=2), 0))
    again, _ = finish(llama.score(text, 1))
    assert first == again
    assert count == 5
    shorter, _ = finish(llama.score(text[:150], 1))
    assert [one.logprob for one in shorter[1:]] == pytest.approx(
        [one.logprob for one in first[1:150]], abs=0.05
    )


def test_a_score_that_is_dropped_leaves_nothing_behind(llama: LlamaRunner) -> None:
    text = tokens(llama, 300)
    expected, _ = finish(llama.score(text, 0))
    dropped = llama.score(tokens(llama, 400, seed=3), 0)
    next(dropped)
    dropped.close()
    assert finish(llama.score(text, 0))[0] == expected


@pytest.mark.parametrize("name", MODELS)
def test_vectors_have_length_one_and_know_what_is_alike(loaded: Loaded, name: str) -> None:
    runner = loaded(name)

    def vector(text: str) -> np.ndarray:
        read = runner.vocab.tokenize(text, add_special=True, parse_special=False)
        return finish(runner.embed(read))[0]

    same, alike, other = map(
        vector,
        (
            "What is the capital of France?",
            "What is the capital of Spain?",
            "{7: [1, 2, 3], 'x': 0.5}",
        ),
    )
    assert same.shape == (runner.info.embedding_size,) and same.dtype == np.float32
    assert np.linalg.norm(same) == pytest.approx(1, abs=1e-5)
    assert same @ alike > same @ other


def test_the_mean_is_that_of_all_pieces(llama: LlamaRunner) -> None:
    """A text of more than one piece is not that of its end or its beginning."""
    text = tokens(llama, 600)
    vector, count = finish(llama.embed(text))
    assert count == 3
    assert vector @ finish(llama.embed(text[:256]))[0] < 0.9999
    assert vector @ finish(llama.embed(text[-88:]))[0] < 0.9999
    assert vector @ finish(llama.embed(text))[0] == pytest.approx(1, abs=1e-6)


def test_without_memory_it_is_refused(llama: LlamaRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_context, "free_bytes", lambda devices: 1 << 20)
    with pytest.raises(RunnerError) as refusal:
        finish(llama.score(tokens(llama, 4000), 0))
    assert refusal.value.code == "OUT_OF_MEMORY"
