"""llama.cpp's own samplers, applied to rows of ours."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as C
from numpy.typing import NDArray

import worker.llama.library  # noqa: F401  (initialises llama.cpp)
from worker.llama.sampling.rows import Row

DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


@dataclass(frozen=True)
class Survivors:
    """What a sampler left, by token id. `selected` is the token it drew, if it draws."""

    ids: NDArray[np.int32]
    logits: Row
    probabilities: Row
    selected: int | None

    @property
    def tokens(self) -> set[int]:
        return set(self.ids.tolist())

    def logit_of(self) -> dict[int, float]:
        return dict(zip(self.ids.tolist(), self.logits.tolist(), strict=True))


@contextmanager
def samplers(*made: Any) -> Iterator[list[Any]]:
    try:
        yield list(made)
    finally:
        for one in made:
            C.llama_sampler_free(one)


def apply(row: Row, chain: Sequence[Any]) -> Survivors:
    """One sampler after the other, on the whole vocabulary."""
    data = np.zeros(len(row), DATA)
    data["id"], data["logit"] = np.arange(len(row)), row
    array = C.llama_token_data_array(data.ctypes.data_as(C.llama_token_data_p), len(row), -1, False)
    for sampler in chain:
        C.llama_sampler_apply(sampler, ctypes.byref(array))
    raw = ctypes.cast(array.data, ctypes.POINTER(ctypes.c_uint8 * (DATA.itemsize * array.size)))
    left = np.frombuffer(raw.contents, DATA).copy()
    selected = int(left["id"][array.selected]) if array.selected >= 0 else None
    return Survivors(left["id"], left["logit"], left["p"], selected)


def filtered(row: Row, *made: Any) -> Survivors:
    with samplers(*made) as chain:
        return apply(row, chain)


def biased(row: Row, biases: Sequence[tuple[int, float]]) -> Survivors:
    entries = (C.llama_logit_bias * len(biases))(*biases)
    return filtered(row, C.llama_sampler_init_logit_bias(len(row), len(biases), entries))


def dry(
    vocab: Any, multiplier: float, base: float, allowed: int, last_n: int, breakers: Sequence[str]
) -> Any:
    texts = (ctypes.c_char_p * len(breakers))(*(text.encode() for text in breakers))
    return C.llama_sampler_init_dry(vocab, multiplier, base, allowed, last_n, texts, len(breakers))
