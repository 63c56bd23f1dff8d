"""What the engine knows of a model: two protocols and the facts of what was loaded."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from worker.engine.batch import Batch
from worker.engine.events import TopLogprob
from worker.engine.request import GenerateRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
    `state_settings` are those, of RoPE and of windows, that a saved state depends on. A few models
    have a template of its own for conversations with tools, `tool_chat_template`.
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
    tool_chat_template: str | None = None
    bos_token: str = ""
    eos_token: str = ""
    size_bytes: int = 0
    num_parameters: int = 0
    pooling: str = "mean"
    embedding_size: int = 0
    state_settings: Mapping[str, str | int | float | bool] = field(default_factory=dict)


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
    @property
    def longest_token(self) -> int:
        """No token stands for more bytes of text than this."""
        ...

    @property
    def control_tokens(self) -> frozenset[str]:
        """What `parse_special` reads as tokens that print nothing."""
        ...

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """`add_special` adds BOS where the model wants one; `parse_special` reads "<|…|>" in the
        text as the control tokens they name: only for text that no stranger wrote."""
        ...

    def token_bytes(self, token_id: int, *, special: bool = False) -> bytes:
        """What the token prints. May be a part of a character. Control tokens print nothing, or
        with `special` their names."""
        ...

    @property
    def fill_ids(self) -> tuple[int, int, int] | None:
        """What marks the text before a gap, the text after it, and the gap; None for models that
        fill none."""
        ...

    def is_eog(self, token_id: int) -> bool:
        """Whether the token ends a generation (EOS, end of turn, …)."""
        ...


class RestoreFailed(Exception):
    """A saved state was not taken, or not wholly. The slot is empty again.

    `reason` is a short name, counted in the metrics: "layout", "refused", "short", "no_room".
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class MemoryTraits:
    """What the model's memory can do, by llama.cpp's own queries.

    `kind` is "full", "window", "recurrent" or "hybrid". `window` is the sliding window in tokens,
    0 when there is none. Without `can_trim` a sequence can only be reused as a whole. Without
    `can_restore` a saved state cannot be checked, and is refused.
    """

    kind: str = "full"
    window: int = 0
    can_trim: bool = True
    can_restore: bool = True


@dataclass(frozen=True, slots=True)
class Layout:
    """How the cells of the context that ordinary sequences share are dealt out.

    Split: each slot has `slot_cells` of its own; nobody's attention passes over another's cells,
    and copying a prefix copies its cells. Unified: any slot may have all of them, and a copy
    shares them.
    """

    is_split: bool
    num_slots: int
    slot_cells: int

    @property
    def num_cells(self) -> int:
        return self.num_slots * self.slot_cells if self.is_split else self.slot_cells


class Sampler(Protocol):
    """How one sequence chooses its tokens, and what it remembers of them. Opaque to the engine."""


class ModelRunner(Protocol):
    """A loaded model with its KV cells. Only the engine's thread calls it, but for `interrupt`.

    A slot is a sequence id in the cache. It holds the cells of positions 0 up to some length.
    """

    @property
    def vocab(self) -> Vocab: ...
    @property
    def info(self) -> ModelInfo: ...
    @property
    def memory(self) -> MemoryTraits: ...
    @property
    def layouts(self) -> Sequence[Layout]:
        """Those it can have, the one it starts with first."""
        ...

    @property
    def layout(self) -> Layout: ...
    @property
    def max_batch_tokens(self) -> int: ...
    @property
    def max_rows(self) -> int:
        """How many rows of logits one decode can give."""
        ...

    def make_sampler(self, request: GenerateRequest) -> Sampler:
        """For one sequence, from its first token to its last, whatever slot it is in."""
        ...

    def isolate(self, slot: int, max_cells: int) -> None:
        """Have the empty slot computed in a context of its own, until it is released.

        Raises RunnerError when there is no memory for it.
        """
        ...

    def decode(self, batch: Batch) -> list[list[Sample]]:
        """Compute the batch; for each of its sampled items, in order, the tokens chosen: one, and
        one more for each draft that was right. The cells of wrong drafts are still there.

        Blocks for the whole computation. Raises RunnerError.
        """
        ...

    def can_reuse(self, slot: int, length: int) -> bool:
        """Whether the slot's first `length` positions are all still there to be built upon."""
        ...

    def copy_prefix(self, source: int, target: int, length: int) -> None:
        """Let the empty `target` have what the source has at its first `length` positions."""
        ...

    def trim(self, slot: int, length: int) -> None:
        """Forget all but the first `length` positions. The caller has asked `can_reuse`."""
        ...

    def num_cached(self, slot: int) -> int:
        """How many positions the slot really holds, asked of the cache itself."""
        ...

    def save(self, slot: int) -> bytes:
        """The slot's state, for `restore` on the same model and settings."""
        ...

    def restore(self, slot: int, state: bytes, num_tokens: int) -> None:
        """Set the empty slot to a state of that many tokens; checked before it is used and after.

        Raises RestoreFailed.
        """
        ...

    def release(self, slot: int) -> None:
        """Forget the slot's cells."""
        ...

    def reset(self) -> None:
        """Forget every slot and start with fresh contexts, after an error that leaves the cache
        in doubt. Raises RunnerError when that cannot be done."""
        ...

    def reshape(self, layout: Layout) -> None:
        """Make the shared context anew, empty, in that layout. Nothing may be isolated.

        Raises RunnerError when it cannot be made, as `reset`.
        """
        ...

    def interrupt(self) -> None:
        """Have the decode that is running end with a RunnerError, if it can. From any thread."""
        ...

    def score(self, tokens: Sequence[int], num_top: int) -> Generator[None, None, list[Sample]]:
        """Each token with its log-probability after those before it, of which the first has none.

        Done in pieces; raises RunnerError.
        """
        ...

    def embed(self, tokens: Sequence[int]) -> Generator[None, None, NDArray[np.float32]]:
        """A text as a vector of length 1. Done in pieces; raises RunnerError."""
        ...

    def close(self) -> None:
        """Give back the model's memory. Nothing may be called afterwards."""
        ...
