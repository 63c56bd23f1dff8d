"""A ModelRunner that needs no model: it says what it was told to, and counts cells."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from worker.engine.batch import Batch, BatchItem
from worker.engine.events import TopLogprob
from worker.engine.request import GenerateRequest
from worker.engine.runner import ModelInfo, RunnerError, Sample
from worker.engine.slots import CELLS_PER_BLOCK

EOS = 256
BOS = 257


class ByteVocab:
    """One token for each byte, then EOS and BOS."""

    size = 258
    kind = "bpe"
    bos_id: int | None = BOS
    eos_id: int | None = EOS
    bos_token = "<s>"
    eos_token = "</s>"

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return [BOS] * add_special + list(text.encode())

    def token_bytes(self, token_id: int) -> bytes:
        return bytes([token_id]) if token_id < 256 else b""

    def is_eog(self, token_id: int) -> bool:
        return token_id == EOS


class FakeRunner:
    """Answers each prompt with the bytes that `script` gives for it, then EOS; the default is to
    say the prompt again, without end.

    It keeps what a real cache would: the positions each slot holds. A batch that leaves a gap,
    uses a slot that was not started, or needs more cells than there are, is an AssertionError.
    `batches` is everything that was decoded. While `gate` is not set, decode waits for it.
    `error` is raised by the next decode, `start_error` by the next start, once.
    """

    def __init__(
        self,
        script: Callable[[tuple[int, ...]], Iterable[int] | None] | bytes | None = None,
        *,
        num_slots: int = 4,
        num_cells: int = 8 * CELLS_PER_BLOCK,
        max_batch_tokens: int = 64,
        context_length: int | None = None,
        chat_template: str | None = None,
    ) -> None:
        self.vocab = ByteVocab()
        self.num_slots = num_slots
        self.num_cells = num_cells
        self.max_batch_tokens = max_batch_tokens
        self.info = ModelInfo(
            architecture="fake",
            name="Fake",
            quantization="F16",
            context_length_train=num_cells,
            context_length=context_length or num_cells,
            num_cells=num_cells,
            num_layers=2,
            layers_on_device=3,
            layers_total=3,
            bytes_on_device=1024,
            device="fake",
            build="fake 1",
            chat_template=chat_template,
            bos_token="<s>",
            eos_token="</s>",
        )
        self.batches: list[Batch] = []
        self.shapes: list[list[tuple[str, int, int]]] = []  # (request id, start, tokens)
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.start_error: Exception | None = None
        self.closed = False
        self._script = script
        self._held: dict[int, int] = {}  # slot -> cells it holds
        self._max_cells: dict[int, int] = {}
        self._requests: dict[int, GenerateRequest] = {}

    @property
    def used_cells(self) -> int:
        return sum(self._held.values())

    @property
    def started_slots(self) -> list[int]:
        return sorted(self._held)

    def start(self, slot: int, request: GenerateRequest, max_cells: int) -> None:
        assert slot not in self._held, f"slot {slot} was not released"
        assert 0 <= slot < self.num_slots
        self._held[slot] = 0
        self._max_cells[slot] = max_cells
        self._requests[slot] = request
        error, self.start_error = self.start_error, None
        if error is not None:
            raise error

    def decode(self, batch: Batch) -> list[Sample]:
        self.gate.wait()
        error, self.error = self.error, None
        if error is not None:
            raise error
        slots = [item.slot for item in batch.items]
        assert batch.items and len(slots) == len(set(slots)), "a slot twice in one batch"
        for item in batch.items:
            assert item.start == self._held[item.slot], "a gap in the positions"
            self._held[item.slot] += len(item.tokens)
            assert self._held[item.slot] <= self._max_cells[item.slot], "more than was announced"
        assert self.used_cells <= self.num_cells, "the cache is overfull"
        self.batches.append(batch)
        self.shapes.append([(i.seq.id, i.start, len(i.tokens)) for i in batch.items])
        return [self._sample(item) for item in batch.sampled]

    def release(self, slot: int) -> None:
        del self._held[slot], self._max_cells[slot], self._requests[slot]

    def clear(self) -> None:
        for slot in self._held:
            self._held[slot] = 0

    def close(self) -> None:
        self.closed = True

    def _sample(self, item: BatchItem) -> Sample:
        request = self._requests[item.slot]
        token = self._next_token(request.prompt, item.start + len(item.tokens))
        num_top = request.params.logprobs
        if num_top is None:
            return Sample(token)
        raw = self.vocab.token_bytes(token)
        return Sample(token, -0.5, (TopLogprob(token, raw, -0.5),) * min(num_top, 1))

    def _next_token(self, prompt: tuple[int, ...], length: int) -> int:
        """The token after `length` tokens."""
        script = self._script(prompt) if callable(self._script) else self._script
        at = length - len(prompt)
        if script is None:
            said = [token for token in prompt if token != BOS] or [ord("a")]
            return said[at % len(said)]
        answer = list(script)
        return answer[at] if at < len(answer) else EOS


def broken(message: str = "the device is gone") -> RunnerError:
    """What a decode that fails raises."""
    return RunnerError(message)
