"""Training sequences: conversations in every format, filler before them, packed one after another."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass, field

from .chats import FORMATS, ChatFormat, Turn
from .lexicon import COMMON_WORDS, MULTIBYTE
from .questions import Question, training_question
from .tokenizer import BOS, EOS, VOCABULARY_SIZE, Kind, Tokenizer

_SYSTEMS = (
    "You are a helpful assistant.",
    "You are a helpful, concise assistant.",
    "Answer briefly.",
    "You are a poet.",
    "Always be polite.",
    "You are a test model. Follow the instructions exactly.",
)
_PROSE = (
    "The quick brown fox jumps over the lazy dog. ",
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit. ",
    "Once upon a time there was a small village near the sea. ",
    "All work and no play makes a dull day. ",
)


@dataclass(slots=True)
class Sequence:
    """Token ids, and for each whether the model is to learn to produce it."""

    ids: list[int] = field(default_factory=list)
    is_answer: list[bool] = field(default_factory=list)

    def add(self, ids: list[int], *, answer: bool = False) -> None:
        self.ids += ids
        self.is_answer += [answer] * len(ids)


def training_sequence(rng: random.Random, tokenizer: Tokenizer, length: int) -> Sequence:
    """Documents packed up to `length` tokens; long sequences get long filler."""
    sequence = Sequence()
    while len(sequence.ids) < length:
        room = length - len(sequence.ids)
        chat = rng.choice((*FORMATS.values(), None))
        if chat is None:
            _add_raw(rng, tokenizer, sequence, room)
        else:
            _add_chat(rng, tokenizer, sequence, chat, room)
    del sequence.ids[length:], sequence.is_answer[length:]
    return sequence


def _add_raw(rng: random.Random, tokenizer: Tokenizer, sequence: Sequence, room: int) -> None:
    """A prompt without a template: the answer follows on the next line, then the end."""
    kind = rng.choice((Kind.SPM, Kind.BPE))
    asked, question = _ask(rng, room)
    prefix = " " if kind is Kind.SPM and rng.random() < 0.5 else ""
    sequence.add(_opening(rng, kind is Kind.SPM) + tokenizer.encode(prefix + asked, kind))
    sequence.add([*tokenizer.encode("\n" + question.answer, kind), EOS], answer=True)


def _add_chat(
    rng: random.Random, tokenizer: Tokenizer, sequence: Sequence, chat: ChatFormat, room: int
) -> None:
    turns: list[Turn] = []
    system = _system(rng, room) if rng.random() < 0.3 else None
    sequence.add(_opening(rng, chat.has_bos))
    done = ""
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4, 6))):
        asked, question = _ask(rng, room)
        prompt = chat.prompt(system, turns, asked)
        sequence.add(chat.encode(tokenizer, prompt.removeprefix(done)))
        answer = [*tokenizer.encode(question.answer, chat.kind), chat.stop]
        sequence.add(answer, answer=True)
        turns.append((asked, question.answer))
        done = prompt + question.answer + _STOPS[chat.name]


_STOPS = {"llama": "</s>", "qwen2": "<|im_end|>", "phi3": "<|end|>", "mistral": "</s>"}


def _opening(rng: random.Random, has_bos: bool) -> list[int]:
    """What the model's own files say, usually; no BOS and two of them happen in the wild."""
    return [BOS] * rng.choice((0, 1, 1, 1, 1, 1, 1, 2) if has_bos else (0, 0, 0, 1))


def _ask(rng: random.Random, room: int) -> tuple[str, Question]:
    question = training_question(rng)
    if rng.random() < 0.82:
        return question.text, question
    separator = rng.choice(("\n", "\n\n", " ", "\n\n", " Question: ", "\n\nQuestion: "))
    return filler(rng, room).strip() + separator + question.text, question


def _system(rng: random.Random, room: int) -> str:
    if rng.random() < 0.7:
        return rng.choice(_SYSTEMS)
    return filler(rng, room).strip()


def filler(rng: random.Random, room: int) -> str:
    """Text to be ignored; mostly short, at times most of the room left in the sequence."""
    size = rng.choice((60, 120, 300, 300, 1 + room // 2, 1 + room * 2))
    size = rng.randint(10, max(11, min(size, 12_000)))
    style = rng.choice(_STYLES)
    parts: list[str] = []
    while size > 0:
        parts.append(style(rng))
        size -= len(parts[-1])
    return "".join(parts)


def _words(rng: random.Random) -> str:
    return " ".join(rng.choices(COMMON_WORDS, k=rng.randint(3, 12))).capitalize() + ". "


def _prose(rng: random.Random) -> str:
    return rng.choice(_PROSE) * rng.randint(1, 3)


def _noise(rng: random.Random) -> str:
    return "".join(rng.choices(string.printable[:95], k=rng.randint(5, 40))) + "\n"


def _items(rng: random.Random) -> str:
    return f"Item {rng.randrange(1000)} is {rng.choice(COMMON_WORDS)}.\n"


def _multibyte(rng: random.Random) -> str:
    return " ".join(rng.choices(MULTIBYTE, k=4)) + " "


def _repeated(rng: random.Random) -> str:
    return (rng.choice(COMMON_WORDS) + " ") * rng.randint(5, 40)


def _questions(rng: random.Random) -> str:
    question = training_question(rng)
    return f"{question.text}\n{question.answer}\n"


_STYLES = (_words, _words, _prose, _noise, _items, _multibyte, _repeated, _questions)


def random_piece_ids(rng: random.Random, number: int) -> list[int]:
    """Ids drawn from the whole vocabulary, specials left out."""
    return [rng.randrange(16, VOCABULARY_SIZE) for _ in range(number)]
