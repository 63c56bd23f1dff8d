"""One generation on its way through the engine."""

from __future__ import annotations

from enum import StrEnum

from worker.engine.detokenizer import Detokenizer
from worker.engine.events import EngineEvent, Failed, Finished, FinishReason, Timings, TokenEvent
from worker.engine.request import GenerateRequest
from worker.engine.runner import Sample, Vocab
from worker.engine.stop import StopMatcher


class SequenceStatus(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


class Sequence:
    """A request, the tokens it has so far, and how many of them the cache holds.

    `room` is the most tokens it may ever hold. Times are given in by the caller, in seconds.
    """

    def __init__(self, request: GenerateRequest, vocab: Vocab, room: int, now: float) -> None:
        self.request = request
        self.tokens = list(request.prompt)
        self.num_computed = 0
        self.status = SequenceStatus.WAITING
        self._slot: int | None = None
        self._vocab = vocab
        self._detokenizer = Detokenizer()
        self._stops = StopMatcher(request.params.stop)
        self._max_output = min(request.params.max_tokens, room - len(request.prompt))
        self._added_at = now
        self._started_at = self._decoding_at = now

    @property
    def id(self) -> str:
        return self.request.request_id

    @property
    def num_prompt(self) -> int:
        return len(self.request.prompt)

    @property
    def num_output(self) -> int:
        return len(self.tokens) - len(self.request.prompt)

    @property
    def max_cells(self) -> int:
        """The most cells it can come to need, known before it starts."""
        return self.num_prompt + self._max_output

    @property
    def is_decoding(self) -> bool:
        """Past its prompt: one token a step."""
        return len(self.tokens) > len(self.request.prompt)

    @property
    def has_ended(self) -> bool:
        return self.status is SequenceStatus.ENDED

    @property
    def slot(self) -> int:
        assert self._slot is not None, "a waiting sequence has no slot"
        return self._slot

    def start(self, slot: int, now: float) -> None:
        self._slot = slot
        self.status = SequenceStatus.RUNNING
        self._started_at = self._decoding_at = now

    def accept(self, sample: Sample, now: float) -> list[EngineEvent]:
        """Take the sampled token; what the requester is to hear of it."""
        if not self.is_decoding:
            self._decoding_at = now
        params = self.request.params
        if not params.ignore_eos and self._vocab.is_eog(sample.token_id):
            return [self.finish(FinishReason.EOS, now)]
        self.tokens.append(sample.token_id)
        raw = self._vocab.token_bytes(sample.token_id)
        text = self._stops.push(self._detokenizer.push(raw))
        event = TokenEvent(
            self.id,
            self.num_output - 1,
            sample.token_id,
            text,
            raw,
            sample.logprob,
            sample.top_logprobs,
        )
        if self._stops.matched is not None:
            return [event, self.finish(FinishReason.STOP_STRING, now)]
        if self.num_output >= self._max_output:
            return [event, self.finish(FinishReason.LENGTH, now)]
        return [event]

    def finish(self, reason: FinishReason, now: float) -> Finished:
        """End it. Text that was held back comes out here, unless a stop string swallowed it."""
        self.status = SequenceStatus.ENDED
        text = self._stops.push(self._detokenizer.flush()) + self._stops.flush()
        return Finished(self.id, reason, text, self._stops.matched, self._timings(now))

    def fail(self, code: str, message: str, *, retriable: bool) -> Failed:
        self.status = SequenceStatus.ENDED
        return Failed(self.id, code, message, retriable)

    def _timings(self, now: float) -> Timings:
        started = now if self._slot is None else self._started_at
        decoding = self._decoding_at if self.is_decoding else now
        return Timings(
            queued_s=started - self._added_at,
            prefill_s=max(0.0, decoding - started),
            decode_s=max(0.0, now - decoding),
            prompt_tokens=self.num_prompt,
            completion_tokens=self.num_output,
        )
