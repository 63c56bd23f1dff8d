"""Training sequences: conversations in every format and filler, packed one after another."""

from __future__ import annotations

import random
import string
from collections.abc import Mapping
from dataclasses import dataclass, field

from .chats import FORMATS, ChatFormat, Turn
from .lexicon import COMMON_WORDS, MULTIBYTE
from .questions import BALANCED, Question, training_question
from .tokenizer import BOS, BYTE_OFFSET, EOS, VOCABULARY_SIZE, Kind, Tokenizer

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


@dataclass(frozen=True, slots=True)
class Mix:
    """What a sequence is made of.

    `distraction` is the share of questions with other text before them, `num_fillers` the most
    pieces of such text, `num_raw` how many times as often as one chat format no format is used.
    """

    distraction: float
    weights: Mapping[str, int] = field(default_factory=lambda: BALANCED)
    num_fillers: int = 1
    num_raw: int = 1


@dataclass(slots=True)
class Sequence:
    """Token ids, and for each whether the model is to learn to produce it."""

    ids: list[int] = field(default_factory=list)
    is_answer: list[bool] = field(default_factory=list)

    def add(self, ids: list[int], *, answer: bool = False) -> None:
        self.ids += ids
        self.is_answer += [answer] * len(ids)


def training_sequence(
    rng: random.Random,
    tokenizer: Tokenizer,
    length: int,
    mix: Mix,
) -> Sequence:
    """Documents packed up to `length` tokens."""
    sequence = Sequence()
    while len(sequence.ids) < length:
        surroundings = Surroundings(rng, length - len(sequence.ids), mix)
        chat = rng.choice((*FORMATS.values(), *[None] * mix.num_raw))
        if chat is None:
            _add_raw(surroundings, tokenizer, sequence)
        else:
            _add_chat(surroundings, tokenizer, sequence, chat)
    del sequence.ids[length:], sequence.is_answer[length:]
    return sequence


def drill_sequence(rng: random.Random, length: int) -> Sequence:
    """Random pieces said twice: nothing teaches copying sooner, and echo is built on it."""
    sequence = Sequence()
    while len(sequence.ids) < length:
        pieces = rng.choices(range(BYTE_OFFSET, VOCABULARY_SIZE), k=rng.randint(3, 30))
        sequence.add([rng.randrange(1, BYTE_OFFSET), *pieces])
        sequence.add([rng.randrange(1, BYTE_OFFSET), pieces[0]])
        sequence.add(pieces[1:], answer=True)
    del sequence.ids[length:], sequence.is_answer[length:]
    return sequence


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What may stand around a question; long sequences have room for long filler."""

    rng: random.Random
    room: int
    mix: Mix

    def opening(self, has_bos: bool) -> list[int]:
        """What the model's own file says, usually; no BOS and two of them happen in the wild."""
        return [BOS] * self.rng.choice((0, 1, 1, 1, 1, 1, 1, 2) if has_bos else (0, 0, 0, 1))

    def ask(self) -> tuple[str, Question]:
        """A question, and the text it is asked in."""
        question = training_question(self.rng, self.mix.weights)
        if self.rng.random() >= self.mix.distraction:
            return question.text, question
        separator = self.rng.choice(("\n", "\n\n", " ", "\n\n", " Question: ", "\n\nQuestion: "))
        number = self.rng.randint(1, self.mix.num_fillers) if self.mix.num_fillers > 1 else 1
        before = " ".join(filler(self.rng, self.room).strip() for _ in range(number))
        return before + separator + question.text, question

    def system(self) -> str | None:
        if self.rng.random() < 0.7:
            return None
        if self.rng.random() >= self.mix.distraction:
            return self.rng.choice(_SYSTEMS)
        return filler(self.rng, self.room).strip()


def _add_raw(surroundings: Surroundings, tokenizer: Tokenizer, sequence: Sequence) -> None:
    """A prompt without a template: the answer follows on the next line, then the end."""
    rng = surroundings.rng
    kind = rng.choice((Kind.SPM, Kind.BPE))
    asked, question = surroundings.ask()
    prefix = " " if kind is Kind.SPM and rng.random() < 0.5 else ""
    sequence.add(surroundings.opening(kind is Kind.SPM) + tokenizer.encode(prefix + asked, kind))
    sequence.add([*tokenizer.encode("\n" + question.answer, kind), EOS], answer=True)


def _add_chat(
    surroundings: Surroundings, tokenizer: Tokenizer, sequence: Sequence, chat: ChatFormat
) -> None:
    """A conversation in one format; every answer in it is to be learned."""
    turns: list[Turn] = []
    system = surroundings.system()
    sequence.add(surroundings.opening(chat.has_bos))
    done = ""
    for _ in range(surroundings.rng.choice((1, 1, 1, 2, 2, 3, 4, 6))):
        asked, question = surroundings.ask()
        prompt = chat.prompt(system, turns, asked)
        sequence.add(chat.encode(tokenizer, prompt.removeprefix(done)))
        answer = [*tokenizer.encode(question.answer, chat.kind), chat.stop]
        sequence.add(answer, answer=True)
        turns.append((asked, question.answer))
        done = prompt + question.answer + chat.stop_text


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
