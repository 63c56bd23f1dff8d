"""Log-probabilities as OpenAI's completions have them: lists side by side, tokens as texts."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

from worker.api.json_text import json_logprob
from worker.engine.events import TokenEvent, TopLogprob
from worker.engine.runner import Sample, Vocab

Record = dict[str, Any]


class TokenTexts:
    """Of one choice, from its first token to its last. Offsets are in characters of its text."""

    def __init__(self) -> None:
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def of_prompt(self, vocab: Vocab, scored: Sequence[Sample], text: str) -> Record:
        """The prompt's tokens; nothing is known of how likely the first was."""
        record = _empty()
        for sample in scored:
            raw = vocab.token_bytes(sample.token_id, special=True)
            printed = vocab.token_bytes(sample.token_id)
            self._add(record, raw, sample.logprob, sample.top_logprobs, printed)
        self._offset = len(text)
        self._decoder.reset()
        return record

    def of_tokens(self, tokens: Sequence[TokenEvent]) -> Record:
        record = _empty()
        for token in tokens:
            self._add(record, token.raw, token.logprob, token.top_logprobs, token.raw)
        return record

    def _add(
        self,
        record: Record,
        raw: bytes,
        logprob: float | None,
        top: Sequence[TopLogprob],
        printed: bytes,
    ) -> None:
        record["tokens"].append(_text(raw))
        record["text_offset"].append(self._offset)
        self._offset += len(self._decoder.decode(printed))
        if logprob is None:
            record["token_logprobs"].append(None)
            record["top_logprobs"].append(None)
            return
        record["token_logprobs"].append(json_logprob(logprob))
        likeliest = {_text(one.raw): json_logprob(one.logprob) for one in reversed(top)}
        record["top_logprobs"].append(likeliest | {_text(raw): json_logprob(logprob)})


def joined(first: Record, second: Record) -> Record:
    return {name: first[name] + second[name] for name in first}


def _empty() -> Record:
    return {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}


def _text(raw: bytes) -> str:
    """Tokens that are a part of a character are told apart by their bytes, as OpenAI does."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)
