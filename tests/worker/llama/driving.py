"""Driving a runner directly, without an engine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from worker.engine.batch import Batch, BatchItem
from worker.engine.params import SamplingParams
from worker.engine.request import GenerateRequest
from worker.engine.runner import ModelRunner, Sample
from worker.llama.runner import LlamaRunner

CHUNK = 256


def sequence(runner: ModelRunner, prompt: list[int] | None = None, **params: Any) -> Any:
    """What a runner looks at of a sequence."""
    request = GenerateRequest("a", tuple(prompt or [1]), SamplingParams(**params))
    return SimpleNamespace(request=request, sampler=runner.make_sampler(request))


def tokens(runner: ModelRunner, count: int, seed: int = 1) -> list[int]:
    """Some tokens, the same each time."""
    drawn = np.random.default_rng(seed).integers(0, runner.vocab.size, count)
    return [int(token) for token in drawn]


def compute(
    runner: ModelRunner, slot: int, ids: list[int], start: int = 0, **params: Any
) -> Sample:
    """Compute the tokens, cut at whole blocks; the likeliest next one, with its log-probability."""
    params.setdefault("logprobs", 4)
    seq = sequence(runner, **params)
    at, end = start, start + len(ids)
    while True:
        stop = min((at // CHUNK + 1) * CHUNK, end)
        item = BatchItem(seq, slot, at, ids[at - start : stop - start], stop == end)
        results = runner.decode(Batch([item]))
        if stop == end:
            return results[0][0]
        assert results == []
        at = stop


def go_on(runner: ModelRunner, slot: int, first: Sample, start: int, count: int) -> list[Sample]:
    """`first` and `count` greedy tokens after it, with log-probabilities."""
    samples = [first]
    for at in range(start, start + count):
        samples.append(compute(runner, slot, [samples[-1].token_id], at))
    return samples


def rows(runner: LlamaRunner, slot: int, ids: list[int], start: int) -> Any:
    """All the logits after computing the tokens: for comparing to the last bit."""
    item = BatchItem(sequence(runner), slot, start, ids, True)
    context, seq_id = runner._place(slot)
    return context.decode([item], [seq_id]).copy()


def rest(runner: LlamaRunner, slot: int, ids: list[int], start: int) -> list[Any]:
    """The logits after a prompt, of which `start` tokens are there, and after ten more tokens."""
    logits = []
    for at in range(start, len(ids), CHUNK):
        logits.append(rows(runner, slot, ids[at : at + CHUNK], at))
    for at in range(len(ids), len(ids) + 10):
        logits.append(rows(runner, slot, [int(logits[-1].argmax())], at))
    return logits


def is_same(one: list[Any], other: list[Any]) -> bool:
    """To the last bit; `other` may have begun earlier."""
    return all(np.array_equal(a, b) for a, b in zip(one, other[-len(one) :], strict=True))
