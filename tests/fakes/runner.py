"""A ModelRunner that needs no model: it says what it was told to, and keeps a cache of cells."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.engine.batch import Batch, BatchItem
from worker.engine.blocks import CELLS_PER_BLOCK
from worker.engine.events import TopLogprob
from worker.engine.request import GenerateRequest
from worker.engine.runner import Layout, MemoryTraits, ModelInfo, RestoreFailed, RunnerError, Sample

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
    fill_ids: tuple[int, int, int] | None = None
    longest_token = 4
    control_tokens: frozenset[str] = frozenset()

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return [BOS] * add_special + list(text.encode())

    def token_bytes(self, token_id: int, *, special: bool = False) -> bytes:
        return bytes([token_id]) if token_id < 256 else b""

    def is_eog(self, token_id: int) -> bool:
        return token_id == EOS


class Cell:
    """One token's place in the cache; sequences that share it hold the same object."""

    __slots__ = ("token",)

    def __init__(self, token: int) -> None:
        self.token = token


class FakeSampler:
    """There is nothing to remember: the script says it all."""


class FakeRunner:
    """Answers each prompt with the bytes that `script` gives for it, then EOS; the default is to
    say the prompt again, without end.

    Its cache is as strict as a real one is careless: a batch that leaves a gap, builds on other
    tokens than its sequence's, or needs more cells than there are, is an AssertionError.
    With `split_cells` each slot has so many of its own, until it is reshaped.
    `batches` is everything that was decoded. While `gate` is not set, decode waits for it.
    `step_s` is how long a decode takes, in which other threads may run.
    `error` is raised by the next decode, `isolate_error` by the next isolate, once. `restored`
    counts the states that were taken.
    """

    def __init__(
        self,
        script: Callable[[tuple[int, ...]], Iterable[int] | None] | bytes | None = None,
        *,
        num_slots: int = 4,
        num_cells: int = 8 * CELLS_PER_BLOCK,
        max_batch_tokens: int = 64,
        max_rows: int = 32,
        context_length: int | None = None,
        chat_template: str | None = None,
        memory: MemoryTraits | None = None,
        split_cells: int | None = None,
    ) -> None:
        self.vocab = ByteVocab()
        unified = Layout(False, num_slots, num_cells)
        self.layouts = [unified]
        if split_cells is not None:
            self.layouts.insert(0, Layout(True, num_slots, split_cells))
        self.layout = self.layouts[0]
        self.max_batch_tokens = max_batch_tokens
        self.max_rows = max_rows
        self.memory = memory or MemoryTraits()
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
            embedding_size=8,
        )
        self.batches: list[Batch] = []
        self.shapes: list[list[tuple[str, int, int]]] = []  # (request id, start, tokens)
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.isolate_error: Exception | None = None
        self.restored = 0
        self._restore_error: RestoreFailed | None = None
        self.step_s = 0.0
        self.num_resets = 0
        self.closed = False
        self._script = script
        self._cells: dict[int, list[Cell]] = {}  # slot -> its cells, by position
        self._isolated: dict[int, int] = {}  # slot -> the most cells it may hold

    @property
    def num_slots(self) -> int:
        return self.layout.num_slots

    @property
    def num_cells(self) -> int:
        return self.layout.num_cells

    @property
    def used_cells(self) -> int:
        """Of the context that all share, each cell counted once."""
        shared = (cells for slot, cells in self._cells.items() if slot not in self._isolated)
        return len({id(cell) for cells in shared for cell in cells})

    @property
    def prompt_tokens(self) -> int:
        """Everything that was computed, but for the one token a step of those who decode."""
        return sum(size for shape in self.shapes for _, _, size in shape if size > 1)

    def make_sampler(self, request: GenerateRequest) -> FakeSampler:
        return FakeSampler()

    def isolate(self, slot: int, max_cells: int) -> None:
        assert not self._cells.get(slot), f"slot {slot} is not empty"
        error, self.isolate_error = self.isolate_error, None
        if error is not None:
            raise error
        self._isolated[slot] = max_cells

    def decode(self, batch: Batch) -> list[list[Sample]]:
        self.gate.wait()
        if self.step_s:
            time.sleep(self.step_s)
        error, self.error = self.error, None
        if error is not None:
            raise error
        slots = [item.slot for item in batch.items]
        assert batch.items and len(slots) == len(set(slots)), "a slot twice in one batch"
        assert batch.num_tokens <= max(self.max_batch_tokens, CELLS_PER_BLOCK), "too many tokens"
        assert sum(item.num_rows for item in batch.items) <= self.max_rows, "too many rows"
        for item in batch.items:
            self._compute(item)
        assert self.used_cells <= self.num_cells, "the cache is overfull"
        self.batches.append(batch)
        self.shapes.append([(i.seq.id, i.start, len(i.tokens)) for i in batch.items])
        return [self._sample(item) for item in batch.sampled]

    def can_reuse(self, slot: int, length: int) -> bool:
        held = self.num_cached(slot)
        return length == held if not self.memory.can_trim else length <= held

    def copy_prefix(self, source: int, target: int, length: int) -> None:
        assert not self._cells.get(target), "the target is not empty"
        assert self.can_reuse(source, length)
        assert source not in self._isolated and target not in self._isolated
        cells = self._cells[source][:length]
        is_split = self.layout.is_split
        self._cells[target] = [Cell(cell.token) for cell in cells] if is_split else cells

    def trim(self, slot: int, length: int) -> None:
        assert length == 0 or self.can_reuse(slot, length)
        del self._cells[slot][length:]

    def num_cached(self, slot: int) -> int:
        return len(self._cells.get(slot, ()))

    def save(self, slot: int) -> bytes:
        return json.dumps([cell.token for cell in self._cells[slot]]).encode()

    def restore(self, slot: int, state: bytes, num_tokens: int) -> None:
        assert not self._cells.get(slot), f"slot {slot} is not empty"
        error, self._restore_error = self._restore_error, None
        if error is not None:
            raise error
        try:
            tokens = json.loads(state)
        except ValueError:
            raise RestoreFailed("layout", "not a state") from None
        if len(tokens) != num_tokens:
            raise RestoreFailed("short", f"{len(tokens)} of {num_tokens}")
        self._cells[slot] = [Cell(token) for token in tokens]
        self.restored += 1
        assert len(tokens) <= self._isolated.get(slot, self.layout.slot_cells)
        assert self.used_cells <= self.num_cells, "the cache is overfull"

    def fail_restore(self, reason: str) -> None:
        """Have the next restore fail."""
        self._restore_error = RestoreFailed(reason, "as the test wants it")

    def release(self, slot: int) -> None:
        assert 0 <= slot < self.num_slots
        self._cells.pop(slot, None)
        self._isolated.pop(slot, None)

    def reset(self) -> None:
        self._cells.clear()
        self._isolated.clear()
        self.num_resets += 1

    def reshape(self, layout: Layout) -> None:
        assert layout in self.layouts and not self._isolated
        assert not any(self._cells.values()), "somebody's cells are lost"
        self._cells.clear()
        self.layout = layout

    def score(self, tokens: Sequence[int], num_top: int) -> Generator[None, None, list[Sample]]:
        """Every token is as likely as its number is small; the likeliest is always "a"."""
        likeliest = (TopLogprob(ord("a"), b"a", -0.25),) * min(num_top, 1)
        scored = [Sample(tokens[0])]
        for token in tokens[1:]:
            yield
            scored.append(Sample(token, -token / 64, likeliest))
        return scored

    def embed(self, tokens: Sequence[int]) -> Generator[None, None, NDArray[np.float32]]:
        """How often each byte is in it, by its last three bits."""
        vector = np.zeros(8, np.float32)
        for token in tokens:
            yield
            vector[token % 8] += 1
        return vector / np.float32(np.linalg.norm(vector))

    def interrupt(self) -> None:
        self.error = RunnerError("interrupted", code="ABORTED")
        self.gate.set()

    def close(self) -> None:
        self.closed = True

    def _compute(self, item: BatchItem) -> None:
        cells = self._cells.setdefault(item.slot, [])
        assert item.start == len(cells), "a gap in the positions"
        before = [cell.token for cell in cells]
        assert before == item.seq.tokens[: item.start], "another sequence's cells"
        cells += map(Cell, item.tokens)
        assert len(cells) <= self._isolated.get(item.slot, self.layout.slot_cells)

    def _sample(self, item: BatchItem) -> list[Sample]:
        """One token, and one more for each draft that is what the script says."""
        prompt = item.seq.request.prompt
        first = item.start + len(item.tokens) - item.num_drafts
        samples = []
        for row in range(1 + item.num_drafts):
            token = self._next_token(prompt, first + row)
            samples.append(self._dressed(item, token))
            drafts_left = item.tokens[len(item.tokens) - item.num_drafts + row :]
            if not drafts_left or drafts_left[0] != token:
                break
        return samples

    def _dressed(self, item: BatchItem, token: int) -> Sample:
        num_top = item.seq.request.params.logprobs
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
