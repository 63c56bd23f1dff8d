"""What the engine knows of a model: two protocols and the facts of what was loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from worker.engine.batch import Batch
from worker.engine.events import TopLogprob
from worker.engine.request import GenerateRequest


class RunnerError(Exception):
    """The model could not compute a batch. The cache of its sequences is not to be trusted.

    `retriable` says whether the same request may work later (no room is, a broken device is not).
    """

    def __init__(
        self, message: str, *, code: str = "DECODE_FAILED", retriable: bool = True
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retriable = retriable


class Sample(NamedTuple):
    """A chosen token. The log-probabilities are filled in only when the request asked."""

    token_id: int
    logprob: float | None = None
    top_logprobs: tuple[TopLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Facts read from the loaded model, not from what was asked for.

    `context_length` is what a single sequence may hold; `num_cells` is shared by all of them.
    """

    architecture: str
    name: str = ""
    quantization: str = ""
    context_length_train: int = 0
    context_length: int = 0
    num_cells: int = 0
    num_layers: int = 0
    layers_on_device: int = 0
    layers_total: int = 0
    bytes_on_device: int = 0
    device: str = ""
    build: str = ""
    chat_template: str | None = None
    bos_token: str = ""
    eos_token: str = ""
    size_bytes: int = 0
    num_parameters: int = 0


class Vocab(Protocol):
    """The model's tokenizer. Safe to use from any thread."""

    @property
    def size(self) -> int: ...
    @property
    def kind(self) -> str:
        """ "spm", "bpe", or llama.cpp's name for a rarer one."""
        ...

    @property
    def bos_id(self) -> int | None: ...
    @property
    def eos_id(self) -> int | None: ...
    @property
    def bos_token(self) -> str: ...
    @property
    def eos_token(self) -> str: ...

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """`add_special` adds BOS where the model wants one; `parse_special` reads "<|…|>" in the
        text as the control tokens they name: only for text that no stranger wrote."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """What the token prints; b"" for control tokens. May be a part of a character."""
        ...

    def is_eog(self, token_id: int) -> bool:
        """Whether the token ends a generation (EOS, end of turn, …)."""
        ...


class ModelRunner(Protocol):
    """A loaded model with its KV cells. Only the engine's thread calls it.

    A slot is a sequence id in the cache. It is started before it appears in a batch, and released
    when its sequence has ended.
    """

    @property
    def vocab(self) -> Vocab: ...
    @property
    def info(self) -> ModelInfo: ...
    @property
    def num_slots(self) -> int: ...
    @property
    def num_cells(self) -> int: ...
    @property
    def max_batch_tokens(self) -> int: ...

    def start(self, slot: int, request: GenerateRequest, max_cells: int) -> None:
        """Make the empty slot ready for the request, which will fill at most `max_cells`.

        Raises RunnerError when it cannot; the slot is to be released all the same.
        """
        ...

    def decode(self, batch: Batch) -> list[Sample]:
        """Compute the batch; one sample, in order, for each of its items that wants one.

        Blocks for the whole computation. Raises RunnerError.
        """
        ...

    def release(self, slot: int) -> None:
        """Forget the slot's cells and its sampling."""
        ...

    def clear(self) -> None:
        """Forget every slot, after an error that leaves the cache in doubt."""
        ...

    def close(self) -> None:
        """Give back the model's memory. Nothing may be called afterwards."""
        ...
