"""A model's vocabulary, as llguidance wants it."""

from __future__ import annotations

from llguidance import LLTokenizer, TokenizerWrapper

from worker.engine.runner import Vocab

_SENTINEL = "\x02"  # merges with nothing


def make_tokenizer(vocab: Vocab, ends: list[int]) -> LLTokenizer:
    """`ends` are the tokens that end an answer. Takes about a second for a large vocabulary."""
    wrapped = TokenizerWrapper(GrammarTokens(vocab, ends))
    return LLTokenizer(wrapped, n_vocab=vocab.size, eos_token=ends)


class GrammarTokens:
    """What TokenizerWrapper asks of a tokenizer: tokens that spell exactly what they are given.

    Where only one text can follow, llguidance allows only its usual tokens, found by calling this.
    """

    def __init__(self, vocab: Vocab, ends: list[int]) -> None:
        self._vocab = vocab
        self.eos_token_id = ends[0]
        self.bos_token_id = vocab.bos_id
        self.tokens = [vocab.token_bytes(token) for token in range(vocab.size)]
        self.special_token_ids: list[int] = []
        self._sentinel = self._tokenize(_SENTINEL)
        self._ids = {raw: token for token, raw in enumerate(self.tokens) if raw}
        self._max_length = max(map(len, self._ids), default=0)

    def __call__(self, raw: bytes) -> list[int]:
        text = raw.decode(errors="replace")
        # Some tokenizers put a space before a text that is none of its own.
        tokens = self._tokenize(_SENTINEL + text)
        if tokens[: len(self._sentinel)] == self._sentinel:
            tokens = tokens[len(self._sentinel) :]
            if b"".join(self.tokens[token] for token in tokens) == raw:
                return tokens
        return self._longest(raw)

    def _tokenize(self, text: str) -> list[int]:
        return self._vocab.tokenize(text, add_special=False, parse_special=False)

    def _longest(self, raw: bytes) -> list[int]:
        """Always the longest token that fits; a byte that no token spells is left out."""
        tokens: list[int] = []
        at = 0
        while at < len(raw):
            ends = range(min(len(raw), at + self._max_length), at, -1)
            end = next((end for end in ends if raw[at:end] in self._ids), None)
            if end is not None:
                tokens.append(self._ids[raw[at:end]])
            at = end or at + 1
        return tokens
