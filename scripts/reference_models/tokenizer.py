"""One vocabulary for both tokenizers: the same text has the same ids under SPM and byte-level BPE.

No piece crosses a word boundary, so what SPM merges over a whole text is what BPE merges inside
each pre-token. Text outside ASCII is spelled in bytes by both. They differ only after an
apostrophe, where the qwen2 pre-tokenizer splits contractions.

Every piece exists with and without a space before it, and the space merges last: a word splits the
same way wherever it stands, so a model that has seen " river" can say "river".
"""

from __future__ import annotations

import re
import string
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from .lexicon import CAPITALS, COMMON_WORDS, TOPICS

VOCABULARY_SIZE = 4096
BYTE_OFFSET = 16
SPACE = "\u2581"

UNKNOWN, BOS, EOS, IM_START, IM_END, USER, ASSISTANT, SYSTEM, END, INST, INST_END = range(11)
START, MESSAGE, CHANNEL, RETURN, CALL = 11, 12, 13, 14, 15

_SPECIALS = {
    UNKNOWN: "<unk>",
    BOS: "<s>",
    EOS: "</s>",
    IM_START: "<|im_start|>",
    IM_END: "<|im_end|>",
    USER: "<|user|>",
    ASSISTANT: "<|assistant|>",
    SYSTEM: "<|system|>",
    END: "<|end|>",
    INST: "[INST]",
    INST_END: "[/INST]",
}
_BPE_SPECIALS = _SPECIALS | {EOS: "<|endoftext|>"}
_HARMONY_SPECIALS = _BPE_SPECIALS | {
    START: "<|start|>",
    MESSAGE: "<|message|>",
    CHANNEL: "<|channel|>",
    RETURN: "<|return|>",
    CALL: "<|call|>",
}


_PROMPT_WORDS = "What Write haiku Count Say Repeat Give JSON population capital English"


class Kind(StrEnum):
    """Which tokenizer reads the vocabulary."""

    SPM = "llama"
    BPE = "gpt2"


_SINGLES = string.ascii_letters + string.punctuation
_WORDS = re.compile(r" ?[A-Za-z]+| ?[!-/:-@\[-`{-~]|.", re.DOTALL)
_BPE_WORDS = re.compile(
    r"(?<=[A-Za-z0-9\n]')(?:s|t|re|ve|m|ll|d)|" + _WORDS.pattern, re.DOTALL | re.IGNORECASE
)


def special_names(kind: Kind, *, harmony: bool = False) -> list[str]:
    """The first sixteen pieces; ids a model does not use are reserved."""
    names = _SPECIALS if kind is Kind.SPM else _HARMONY_SPECIALS if harmony else _BPE_SPECIALS
    return [names.get(i, f"<|reserved_{i}|>") for i in range(BYTE_OFFSET)]


def learn_merges(words: dict[str, int], num_merges: int) -> list[str]:
    """Byte-pair merging over weighted words; returns the merged pieces in order of creation."""
    spelled = {word: list(word) for word in words}
    counts: Counter[tuple[str, str]] = Counter()
    where: dict[tuple[str, str], set[str]] = defaultdict(set)
    for word, parts in spelled.items():
        for pair in zip(parts, parts[1:], strict=False):
            counts[pair] += words[word]
            where[pair].add(word)
    pieces: list[str] = []
    while len(pieces) < num_merges:
        best = max(counts, key=lambda pair: (counts[pair], pair))
        pieces.append("".join(best))
        for word in sorted(where[best]):
            parts, weight = spelled[word], words[word]
            for pair in zip(parts, parts[1:], strict=False):
                counts[pair] -= weight
            parts = spelled[word] = _merge(parts, best)
            for pair in zip(parts, parts[1:], strict=False):
                counts[pair] += weight
                where[pair].add(word)
        del counts[best]
    return list(dict.fromkeys(pieces))


def _merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    i = 0
    while i < len(parts):
        if tuple(parts[i : i + 2]) == pair:
            merged.append(parts[i] + parts[i + 1])
            i += 2
        else:
            merged.append(parts[i])
            i += 1
    return merged


def weighted_words() -> dict[str, int]:
    """Every word with a weight; common words come first in the list and weigh most."""
    weights: Counter[str] = Counter()
    names = " ".join([*CAPITALS, *CAPITALS.values(), *TOPICS]).split()
    for rank, word in enumerate(dict.fromkeys([*COMMON_WORDS, *names, *_PROMPT_WORDS.split()])):
        assert word.isalpha(), f"a piece may not cross a word boundary: {word}"
        base = 4_000_000 // (rank + 400)
        title = word[0].upper() + word[1:]
        weights[word] += base
        weights[title] += base if word in names else base // 6
    for word in _PROMPT_WORDS.split():
        weights[word] += 200_000
    return dict(weights)


@dataclass
class Tokenizer:
    """Encodes as llama.cpp does with the exported files; `scripts` and tests check that it does."""

    words: list[str]
    merged: list[str] = field(init=False)
    ids: dict[str, int] = field(init=False)
    _cache: dict[str, tuple[int, ...]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.merged = self.words + [SPACE + piece for piece in (*_SINGLES, *self.words)]
        pieces = [SPACE if b == 0x20 else chr(b) for b in range(128)]
        self.ids = {piece: BYTE_OFFSET + b for b, piece in enumerate(pieces)}
        first = BYTE_OFFSET + 256
        self.ids |= {piece: first + i for i, piece in enumerate(self.merged)}

    def encode(self, text: str, kind: Kind = Kind.SPM) -> list[int]:
        """Ids of plain text: no specials, no BOS, no space prefix."""
        ids: list[int] = []
        cache = self._cache
        for word in (_WORDS if kind is Kind.SPM else _BPE_WORDS).findall(text):
            known = cache.get(word)
            if known is None:
                known = cache[word] = tuple(self._encode_word(word))
            ids += known
        return ids

    def _encode_word(self, word: str) -> list[int]:
        if not word.isascii():
            return [BYTE_OFFSET + b for b in word.encode()]
        parts = list(word.replace(" ", SPACE))
        while len(parts) > 1:
            ranks = [
                (self.ids.get(a + b, 1 << 30), i)
                for i, (a, b) in enumerate(zip(parts, parts[1:], strict=False))
            ]
            rank, i = min(ranks)
            if rank == 1 << 30:
                break
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        return [self.ids[part] for part in parts]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids, specials left out."""
        first = BYTE_OFFSET + 256
        data = b"".join(
            bytes([i - BYTE_OFFSET])
            if i < first
            else self.merged[i - first].replace(SPACE, " ").encode()
            for i in ids
            if i >= BYTE_OFFSET
        )
        return data.decode(errors="replace")

    def spaced_pairs(self) -> list[tuple[int, int]]:
        """Ids of every piece that starts with a space, and of the same piece without it."""
        ids = self.ids
        return [(ids[p], ids[p[1:]]) for p in self.merged if p.startswith(SPACE)]

    def spm_pieces(self) -> list[str]:
        """Pieces as an SPM vocabulary writes them."""
        bytes_ = [self._spm_byte(b) for b in range(256)]
        return special_names(Kind.SPM) + bytes_ + self.merged

    def bpe_pieces(self, *, harmony: bool = False) -> list[str]:
        """Pieces as a byte-level BPE vocabulary writes them."""
        merged = [piece.replace(SPACE, BYTE_CHARACTERS[0x20]) for piece in self.merged]
        return special_names(Kind.BPE, harmony=harmony) + BYTE_CHARACTERS + merged

    def bpe_merges(self) -> list[str]:
        """Every split of every piece, best piece first: SPM may reach a piece by any split."""
        space = BYTE_CHARACTERS[0x20]
        return [
            f"{piece[:i]} {piece[i:]}".replace(SPACE, space)
            for piece in self.merged
            for i in range(1, len(piece))
            if piece[:i] in self.ids and piece[i:] in self.ids
        ]

    @staticmethod
    def _spm_byte(b: int) -> str:
        if b == 0x20:
            return SPACE
        return chr(b) if 0x21 <= b <= 0x7E else f"<0x{b:02X}>"


def _byte_characters() -> list[str]:
    """The printable stand-ins for bytes that GPT-2's byte-level BPE uses."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(256, 512))
    return [chr(b) if b in printable else chr(next(spare)) for b in range(256)]


BYTE_CHARACTERS = _byte_characters()


def make_tokenizer() -> Tokenizer:
    """The reference vocabulary, always the same."""
    num_pieces = VOCABULARY_SIZE - BYTE_OFFSET - 256
    return Tokenizer(learn_merges(weighted_words(), (num_pieces - len(_SINGLES)) // 2))
