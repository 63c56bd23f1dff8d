"""One generation on its way through the engine."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import numpy as np

from worker.engine.blocks import CELLS_PER_BLOCK
from worker.engine.cache.snapshot import Snapshot, Tokens
from worker.engine.detokenizer import Detokenizer
from worker.engine.draft import Drafter
from worker.engine.events import EngineEvent, Failed, Finished, FinishReason, Timings, TokenEvent
from worker.engine.request import GenerateRequest
from worker.engine.residents import Resident
from worker.engine.runner import Sample, Sampler, Vocab
from worker.engine.stop import StopMatcher


class SequenceStatus(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


class Sequence:
    """A request, the tokens it has so far, and where the cache holds them.

    `room` is the most tokens it may ever hold. Times are given in by the caller, in seconds.
    """

    def __init__(
        self, request: GenerateRequest, sampler: Sampler, vocab: Vocab, room: int, now: float
    ) -> None:
        self.request = request
        self.sampler = sampler
        self.tokens = list(request.prompt)
        self.status = SequenceStatus.WAITING
        self.home: Resident | None = None
        self.snapshot: Snapshot | None = None  # what it may start from
        self.is_loading = False
        self.num_fetches = 0
        self.num_overtaken = 0  # by others in the queue
        self.leader: Sequence | None = None  # who is computing what this one begins with
        self.leader_length = 0
        self.cached_tokens = self.restored_tokens = 0
        self.drafted = self.accepted = 0
        self.drafter: Drafter | None = None
        self._vocab = vocab
        self._detokenizer = Detokenizer()
        self._stops = StopMatcher(request.params.stop)
        self._max_output = min(request.params.max_tokens, room - len(request.prompt))
        self._added_at = now
        self._started_at: float | None = None
        self._decoding_at: float | None = None
        self._array: Tokens | None = None

    @property
    def id(self) -> str:
        return self.request.request_id

    @property
    def agent(self) -> str | None:
        return self.request.agent

    @property
    def is_isolated(self) -> bool:
        return self.request.reproducible

    @property
    def slot(self) -> int:
        assert self.home is not None, "a waiting sequence has no slot"
        return self.home.slot

    @property
    def num_prompt(self) -> int:
        return len(self.request.prompt)

    @property
    def num_output(self) -> int:
        return len(self.tokens) - len(self.request.prompt)

    @property
    def num_computed(self) -> int:
        return 0 if self.home is None else self.home.length

    @property
    def output_left(self) -> int:
        return self._max_output - self.num_output

    @property
    def max_cells(self) -> int:
        """The most cells it can come to need, known before it starts."""
        return self.num_prompt + self._max_output

    @property
    def is_decoding(self) -> bool:
        """All but its newest token computed: one token a step."""
        home = self.home
        return home is not None and len(self.tokens) - home.length == 1 and self.num_output > 0

    @property
    def has_started(self) -> bool:
        """Whether it ever had a slot; it may have had to give it back."""
        return self._started_at is not None

    @property
    def has_ended(self) -> bool:
        return self.status is SequenceStatus.ENDED

    @property
    def token_array(self) -> Tokens:
        if self._array is None or len(self._array) != len(self.tokens):
            self._array = np.array(self.tokens, np.int32)
        return self._array

    @property
    def exact_length(self) -> int:
        """How much of a reproducible prompt is computed in whole blocks, and may be kept so."""
        return (self.num_prompt - 1) // CELLS_PER_BLOCK * CELLS_PER_BLOCK

    @property
    def is_following(self) -> bool:
        """Whether it is worth waiting for what another one is just computing."""
        leader = self.leader
        if leader is None:
            return False
        if leader.status is SequenceStatus.RUNNING and leader.num_computed < self.leader_length:
            return True
        self.leader = None
        return False

    def start(self, home: Resident, now: float) -> None:
        self.home = home
        self.status = SequenceStatus.RUNNING
        if self._started_at is None:
            self._started_at = now

    def park(self) -> None:
        """Wait again. What was generated so far stays; its cells are somebody else's now."""
        self.home = None
        self.status = SequenceStatus.WAITING

    def accept(self, samples: Iterable[Sample], now: float) -> list[EngineEvent]:
        """Take the chosen tokens up to the end; what the requester is to hear of them."""
        if self._decoding_at is None:
            self._decoding_at = now
        events: list[EngineEvent] = []
        for sample in samples:
            events += self._accept_one(sample, now)
            if self.has_ended:
                break
        return events

    def finish(self, reason: FinishReason, now: float) -> Finished:
        """End it. Text that was held back comes out here, unless a stop string swallowed it."""
        self.status = SequenceStatus.ENDED
        text = self._stops.push(self._detokenizer.flush()) + self._stops.flush()
        return Finished(self.id, reason, text, self._stops.matched, self._timings(now))

    def fail(self, code: str, message: str, *, retriable: bool) -> Failed:
        self.status = SequenceStatus.ENDED
        return Failed(self.id, code, message, retriable)

    def _accept_one(self, sample: Sample, now: float) -> list[EngineEvent]:
        if self.request.prefill_only:
            return [self.finish(FinishReason.LENGTH, now)]
        token = sample.token_id
        is_eog = self._vocab.is_eog(token)
        if is_eog and not self.request.params.ignore_eos:
            return [self.finish(FinishReason.EOS, now)]
        self.tokens.append(token)
        shows = self.request.with_specials and not is_eog
        raw = self._vocab.token_bytes(token, special=shows)
        text = self._stops.push(self._detokenizer.push(raw))
        index = self.num_output - 1
        event = TokenEvent(self.id, index, token, text, raw, sample.logprob, sample.top_logprobs)
        if self._stops.matched is not None:
            return [event, self.finish(FinishReason.STOP_STRING, now)]
        if self.num_output >= self._max_output:
            return [event, self.finish(FinishReason.LENGTH, now)]
        return [event]

    def _timings(self, now: float) -> Timings:
        started = now if self._started_at is None else self._started_at
        decoding = now if self._decoding_at is None else self._decoding_at
        return Timings(
            queued_s=started - self._added_at,
            prefill_s=max(0.0, decoding - started),
            decode_s=max(0.0, now - decoding),
            prompt_tokens=self.num_prompt,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.num_output,
            restored_tokens=self.restored_tokens,
            drafted=self.drafted,
            accepted=self.accepted,
        )
