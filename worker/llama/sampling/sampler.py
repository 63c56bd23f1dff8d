"""One sequence's way of choosing its tokens."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from worker.engine.params import SamplingParams
from worker.engine.runner import Vocab
from worker.llama.sampling import xtc
from worker.llama.sampling.bias import LogitBias
from worker.llama.sampling.candidates import Candidates
from worker.llama.sampling.chain import truncate
from worker.llama.sampling.draw import pick
from worker.llama.sampling.dry import Dry
from worker.llama.sampling.mirostat import Mirostat, mirostat_of
from worker.llama.sampling.penalties import Penalties
from worker.llama.sampling.rows import Row, argmax

_MIN_TEMPERATURE = 1e-4  # below this there is nothing left to choose, only to overflow


class LogitEdit(Protocol):
    """Changes single logits before anything is filtered."""

    def edit(self, row: Row) -> None:
        """In place."""
        ...

    def note(self, token: int) -> None:
        """This one was chosen."""
        ...


class Sampler:
    """Bias, penalties, DRY, the form that is asked for, filters, temperature, draw.

    Each choice takes the same number of random numbers, whatever was chosen before: verifying
    guesses one after the other gives what choosing one at a time would have given.
    """

    def __init__(
        self, params: SamplingParams, prompt: Sequence[int], vocab: Vocab | None = None
    ) -> None:
        self._params = params
        self._edits = _edits(params, prompt, vocab)
        self._form = None if params.constraint is None else params.constraint.start()
        self._mirostat = mirostat_of(params)
        self._has_xtc = xtc.is_on(params.xtc_probability, params.xtc_threshold)
        self._temperature = params.temperature and max(params.temperature, _MIN_TEMPERATURE)
        seed = secrets.randbits(64) if params.seed is None else params.seed & (1 << 64) - 1
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._may_ban_all = bool(self._edits or self._form)
        self.is_greedy = not (params.temperature or self._edits or self._form)
        """Whether every choice is the row's argmax and nothing besides."""

    def choose(self, row: Row) -> int:
        """The next token; `row` is not changed. Raises RunnerError for a row without sense."""
        best = argmax(row)
        if self.is_greedy:
            return best
        token = self._pick(self._candidates(row))
        for edit in self._edits:
            edit.note(token)
        if self._form is not None:
            self._form.accept(token)
        return token

    def _candidates(self, row: Row) -> Candidates:
        if self._edits:
            row = row.copy()
            for edit in self._edits:
                edit.edit(row)
        if self._form is None:
            return Candidates(row)
        return Candidates(row).keep(np.flatnonzero(self._form.allowed()))

    def _pick(self, candidates: Candidates) -> int:
        if not self._temperature:
            return candidates.token(candidates.best)
        chance = self._random.random() if self._has_xtc else 1.0
        share = self._random.random()
        if self._may_ban_all and candidates.logits[candidates.best] == -math.inf:
            return candidates.token(candidates.best)  # there is nothing to weigh
        if self._mirostat is not None:
            return self._pick_with(self._mirostat, candidates, share)
        with_xtc = self._has_xtc and chance <= self._params.xtc_probability
        kept = truncate(candidates, self._params, with_xtc=with_xtc)
        return kept.token(pick(kept.weights(self._temperature), share))

    def _pick_with(self, mirostat: Mirostat, candidates: Candidates, share: float) -> int:
        logits = candidates.logits / np.float32(self._temperature)
        kept = mirostat.keep(replace(candidates, logits=logits))
        weights = kept.weights()
        at = pick(weights, share)
        mirostat.observe(float(weights[at] / weights.sum()))
        return kept.token(at)


def _edits(
    params: SamplingParams, prompt: Sequence[int], vocab: Vocab | None
) -> tuple[LogitEdit, ...]:
    """Those that the request asks for, in order."""
    edits = (LogitBias.of(params), Penalties.of(params, prompt), Dry.of(params, prompt, vocab))
    return tuple(edit for edit in edits if edit is not None)
