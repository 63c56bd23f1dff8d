"""The tokenizer of a loaded model."""

from __future__ import annotations

import ctypes
from functools import cached_property

from llama_cpp import llama_cpp as C

# Of llama_token_attr: those that are read only where control tokens are.
_UNKNOWN, _CONTROL = 1, 8
_KINDS = {1: "spm", 2: "bpe", 3: "wpm", 4: "ugm", 5: "rwkv", 6: "plamo2"}


class LlamaVocab:
    """Implements Vocab on llama.cpp's. It only reads, so any thread may use it."""

    def __init__(self, model: C.llama_model_p) -> None:
        vocab = C.llama_model_get_vocab(model)
        assert vocab is not None, "a loaded model has a vocabulary"
        self._vocab = vocab
        self._bytes: dict[tuple[int, bool], bytes] = {}
        self.size = C.llama_vocab_n_tokens(vocab)
        kind = C.llama_vocab_type(vocab)
        self.kind = _KINDS.get(kind, f"type-{kind}")
        self.bos_id = _id_or_none(C.llama_vocab_bos(vocab))
        self.eos_id = _id_or_none(C.llama_vocab_eos(vocab))
        self.bos_token = self._text(self.bos_id)
        self.eos_token = self._text(self.eos_id)
        marks = C.llama_vocab_fim_pre, C.llama_vocab_fim_suf, C.llama_vocab_fim_mid
        before, after, gap = (mark(vocab) for mark in marks)
        has_marks = min(before, after, gap) >= 0
        self.fill_ids = (before, after, gap) if has_marks else None
        self._eog = frozenset(i for i in range(self.size) if C.llama_vocab_is_eog(vocab, i))

    @cached_property
    def longest_token(self) -> int:
        """As llama.cpp spells it, which never takes fewer bytes than the text itself."""
        text_of = C.llama_vocab_get_text
        return max(len(text_of(self._vocab, i)) for i in range(self.size))

    @cached_property
    def control_tokens(self) -> frozenset[str]:
        """Looks at every token: tens of milliseconds, once."""
        attr, kinds = C.llama_vocab_get_attr, _CONTROL | _UNKNOWN
        return frozenset(self._text(i) for i in range(self.size) if attr(self._vocab, i) & kinds)

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        raw = text.encode()
        capacity = len(raw) + 8
        while True:
            tokens = (C.llama_token * capacity)()
            count = C.llama_tokenize(
                self._vocab, raw, len(raw), tokens, capacity, add_special, parse_special
            )
            if count >= 0:
                return tokens[:count]
            capacity = -count  # too small: it says how many there are

    def token_bytes(self, token_id: int, *, special: bool = False) -> bytes:
        raw = self._bytes.get((token_id, special))
        if raw is None:
            raw = self._bytes[token_id, special] = self._piece(token_id, special)
        return raw

    def is_eog(self, token_id: int) -> bool:
        return token_id in self._eog

    def _piece(self, token_id: int, special: bool) -> bytes:
        capacity = 64
        while True:
            buffer = ctypes.create_string_buffer(capacity)
            size = C.llama_token_to_piece(self._vocab, token_id, buffer, capacity, 0, special)
            if size >= 0:
                return buffer.raw[:size]
            capacity = -size

    def _text(self, token_id: int | None) -> str:
        if token_id is None:
            return ""
        raw: bytes = C.llama_vocab_get_text(self._vocab, token_id)
        return raw.decode("utf-8", "replace")


def _id_or_none(token_id: int) -> int | None:
    return token_id if token_id >= 0 else None
