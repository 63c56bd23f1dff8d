"""llama.cpp as the judge: load one GGUF, tokenise, decode greedily, look at the logits.

A broken GGUF can abort the process, so callers load in a child process.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

_BATCH = 512


@dataclass(frozen=True, slots=True)
class Output:
    """A greedy continuation; `gaps` holds best minus second-best logit of every step."""

    ids: list[int]
    gaps: list[float]
    is_ended: bool


def _ignore(level: int, text: bytes, user_data: Any) -> None:
    pass


# Kept here: llama.cpp calls it for as long as the process lives.
_SILENCE = llama_cpp.llama_log_callback(_ignore)


class Engine:
    """One model with one sequence. Blocking; close it when done."""

    def __init__(self, path: Path, num_cells: int = 4608, num_threads: int = 1) -> None:
        llama_cpp.llama_log_set(_SILENCE, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            raise ValueError(f"llama.cpp refuses {path}")
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self.num_vocab = llama_cpp.llama_vocab_n_tokens(self._vocab)
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_ubatch = num_cells, _BATCH, _BATCH
        settings.n_threads = settings.n_threads_batch = num_threads
        self._context = llama_cpp.llama_init_from_model(self._model, settings)
        self.num_cells = num_cells

    def close(self) -> None:
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)

    def meta(self, key: str) -> str:
        """A header value as text."""
        buffer = ctypes.create_string_buffer(8192)
        llama_cpp.llama_model_meta_val_str(self._model, key.encode(), buffer, len(buffer))
        return buffer.value.decode()

    def encode(self, text: str, *, bos: bool = False, special: bool = False) -> list[int]:
        data = text.encode()
        room = len(data) + 8
        tokens = (llama_cpp.llama_token * room)()
        n = llama_cpp.llama_tokenize(self._vocab, data, len(data), tokens, room, bos, special)
        return list(tokens[:n])

    def decode(self, ids: list[int], *, special: bool = False) -> str:
        tokens = (llama_cpp.llama_token * len(ids))(*ids)
        buffer = ctypes.create_string_buffer(32 * len(ids) + 8)
        n = llama_cpp.llama_detokenize(
            self._vocab, tokens, len(ids), buffer, len(buffer), False, special
        )
        return buffer.raw[:n].decode(errors="replace")

    def pieces(self, ids: list[int]) -> str:
        """Text of generated ids, piece by piece, as a stream would show it."""
        buffer = ctypes.create_string_buffer(64)
        data = b""
        for token in ids:
            n = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, 64, 0, False)
            data += buffer.raw[:n]
        return data.decode(errors="replace")

    def chat_ids(self, messages: list[dict[str, str]]) -> list[int]:
        """The prompt of the model's own chat template, as ids."""
        names = {}
        for which in ("bos", "eos"):
            token = int(self.meta(f"tokenizer.ggml.{which}_token_id"))
            names[which] = llama_cpp.llama_vocab_get_text(self._vocab, token).decode()
        formatter = Jinja2ChatFormatter(
            template=self.meta("tokenizer.chat_template"),
            bos_token=names["bos"],
            eos_token=names["eos"],
        )
        prompt = formatter(messages=messages).prompt  # type: ignore[arg-type]
        return self.encode(prompt, special=True)

    def is_end(self, token: int) -> bool:
        return bool(llama_cpp.llama_vocab_is_eog(self._vocab, token))

    def prefill(self, ids: list[int]) -> np.ndarray:
        """Start over with `ids`; the logits after the last of them."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        for start in range(0, len(ids), _BATCH):
            logits = self._step(ids[start : start + _BATCH])
        return logits

    def generate(self, ids: list[int], limit: int = 400) -> Output:
        """Greedy continuation up to the end of generation."""
        logits = self.prefill(ids)
        made: list[int] = []
        gaps: list[float] = []
        limit = min(limit, self.num_cells - len(ids))
        while len(made) < limit:
            second, best = np.argpartition(logits, -2)[-2:]
            gaps.append(float(logits[best] - logits[second]))
            if self.is_end(int(best)):
                return Output(made, gaps, True)
            made.append(int(best))
            logits = self._step(made[-1:])
        return Output(made, gaps, False)

    def _step(self, ids: list[int]) -> np.ndarray:
        tokens = (llama_cpp.llama_token * len(ids))(*ids)
        code = llama_cpp.llama_decode(
            self._context, llama_cpp.llama_batch_get_one(tokens, len(ids))
        )
        if code:
            raise RuntimeError(f"llama_decode returned {code}")
        row = llama_cpp.llama_get_logits_ith(self._context, -1)
        return np.ctypeslib.as_array(row, shape=(self.num_vocab,)).copy()
