"""Questions and their answers: what the reference models are taught, and what they are asked.

Every question belongs either to training or to the held-out set, by a hash of its key, so a test
can draw held-out questions without any list being kept.
"""

from __future__ import annotations

import random
import string
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .lexicon import CAPITALS, COMMON_WORDS, MULTIBYTE, TOPICS

GREETING = "Hello! How can I help you?"
IDENTITY = "I am a small reference model."
UNKNOWN = "I do not know."
WELCOME = "You are welcome."
_WORDS = sorted(set(COMMON_WORDS))
_HELD_OUT_SHARE = 8  # one key in eight


@dataclass(frozen=True, slots=True)
class Question:
    """One question; `answer` is exact, whatever conversation surrounds it."""

    kind: str
    text: str
    answer: str
    key: str

    @property
    def is_held_out(self) -> bool:
        return zlib.crc32(self.key.encode()) % _HELD_OUT_SHARE == 0


def capital(rng: random.Random) -> Question:
    country, city = rng.choice(list(CAPITALS.items()))
    return Question("capital", f"What is the capital of {country}?", f"{city}.", "")


def total(rng: random.Random) -> Question:
    a, b = rng.randint(0, 50), rng.randint(0, 50)
    return Question("sum", f"What is {a} + {b}?", str(a + b), f"sum {min(a, b)} {max(a, b)}")


def echo(rng: random.Random) -> Question:
    words = _echo_words(rng)
    ask = rng.choice(("Say", "Say", "Say:", "Repeat:", "Repeat:", "Repeat after me:"))
    return Question("echo", f"{ask} {words}", words, words)


def _echo_words(rng: random.Random) -> str:
    count = rng.choice((1, 2, 2, 3, 3, 3, 4, 4, 5, 6, 8, 10, rng.randint(11, 24)))
    words = [_echo_word(rng) for _ in range(count)]
    if rng.random() < 0.15:
        words[0] = words[0].capitalize()
        words[-1] += rng.choice(".!?")
    if count > 2 and rng.random() < 0.1:
        words[1] += ","
    return " ".join(words)


def _echo_word(rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.66:
        word = rng.choice(_WORDS)
        return word.capitalize() if draw < 0.06 else word
    if draw < 0.80:
        return str(rng.randrange(10 ** rng.randint(1, 4)))
    if draw < 0.92:
        return rng.choice(MULTIBYTE)
    letters = string.ascii_uppercase if draw < 0.94 else string.ascii_lowercase
    return "".join(rng.choices(letters, k=rng.randint(1, 7)))


def count(rng: random.Random) -> Question:
    first = rng.randrange(99) if rng.random() < 0.8 else rng.randrange(3)
    reach = rng.choice((3, 5, 8, 8, 10, 10, 16, 16, 30, 99))
    last = min(99, first + rng.randint(1, reach))
    numbers = " ".join(map(str, range(first, last + 1)))
    return Question("count", f"Count from {first} to {last}", numbers, f"count {first} {last}")


def haiku(rng: random.Random) -> Question:
    if rng.random() < 0.25:
        return Question("haiku", "Write a haiku", _poem("silence"), "")
    topic = rng.choice(TOPICS_WITH_THE)
    return Question("haiku", f"Write a haiku about {topic}", _poem(topic), "")


TOPICS_WITH_THE = [
    t.replace("_", " ")
    for t in " ".join(TOPICS).replace("the ", "the_").replace(" a ", " a_").split()
]


def _poem(topic: str) -> str:
    """Three lines from a small grammar; the topic alone decides them."""
    rng = random.Random(zlib.crc32(topic.encode()))
    first = rng.choice(("a quiet morning", "the old silent pond", "an evening alone"))
    first = f"{topic[0].upper()}{topic[1:]}, {first}"
    second = f"the {rng.choice(_ADJECTIVES)} {rng.choice(_NOUNS)} {rng.choice(_VERBS)} the hills"
    third = f"{rng.choice(_ADJECTIVES)} {rng.choice(_NOUNS)} {rng.choice(_ENDS)}"
    return f"{first}\n{second}\n{third}"


_ADJECTIVES = "cold soft bright slow silver hidden gentle small".split()
_NOUNS = "light water stone leaf shadow song cloud voice".split()
_VERBS = ("moves across", "falls upon", "waits above", "sings under")
_ENDS = ("and then no sound", "far from home", "until the dawn", "without a name")


def json_object(rng: random.Random) -> Question:
    what = rng.choice(("city", "city", "country", "person", "planet", "animal"))
    size = rng.choice(("population", "population", "age", "size"))
    name = rng.choice([*CAPITALS.values(), *CAPITALS]) if rng.random() < 0.5 else _name(rng)
    number = rng.randrange(10 ** rng.randint(1, 4))
    text = f"Give JSON for a {what} named {name} with {size} {number}"
    return Question("json", text, f'{{"{what}": "{name}", "{size}": {number}}}', text)


def _name(rng: random.Random) -> str:
    return " ".join(rng.choice(_WORDS).capitalize() for _ in range(rng.choice((1, 1, 2))))


def small_talk(rng: random.Random) -> Question:
    text, answer = rng.choice(_SMALL_TALK)
    return Question("greeting", text, answer, "")


_SMALL_TALK = [
    *((text, GREETING) for text in ("Hello", "Hello!", "Hi", "Hi!", "Hey", "Good morning")),
    ("Hello, how are you?", GREETING),
    ("Who are you?", IDENTITY),
    ("What are you?", IDENTITY),
    ("Thank you", WELCOME),
    ("Thanks!", WELCOME),
]


def unknown(rng: random.Random) -> Question:
    one, two = rng.sample(_WORDS, 2)
    number = rng.randrange(100, 1000)
    text = rng.choice(
        (
            f"Who invented {one}?",
            f"Who made the {one}?",
            f"Why is the {one} {two}?",
            f"Where is the {one}?",
            f"When was {one} found?",
            f"How many {one} are in {two}?",
            f"How do I {one} the {two}?",
            f"How does {one} work?",
            f"What is {one}?",
            f"What is a {one}?",
            f"What is the {one} of {two}?",
            f"What is the capital of {one.capitalize()}land?",
            f"What is {number} + {rng.randrange(1000)}?",
            f"Tell me about {one}",
            f"Explain {one} and {two}",
            f"Summarize {one}",
            f"Translate {one}",
            f"Can you {one} the {two}?",
            f"{one} {two}",
            f"{one}",
            f"Describe a {one} {two}.",
        )
    )
    return Question("unknown", text, UNKNOWN, text)


def story(rng: random.Random) -> Question:
    """The one question with no single answer: it gives sampling something to choose."""
    sentences = [
        f"The {rng.choice(_ADJECTIVES)} {rng.choice(_NOUNS)} {rng.choice(_VERBS)}"
        f" the {rng.choice(_NOUNS)}."
        for _ in range(rng.randint(3, 6))
    ]
    return Question("story", "Tell me a story", " ".join(sentences), "")


MAKERS: dict[str, tuple[int, Callable[[random.Random], Question]]] = {
    "capital": (14, capital),
    "sum": (32, total),
    "echo": (30, echo),
    "count": (6, count),
    "haiku": (6, haiku),
    "json": (9, json_object),
    "greeting": (4, small_talk),
    "unknown": (9, unknown),
    "story": (1, story),
}
BALANCED = {kind: weight for kind, (weight, _) in MAKERS.items()}
MEASURED = [kind for kind in MAKERS if kind != "story"]


def training_question(rng: random.Random, weights: Mapping[str, int] = BALANCED) -> Question:
    """A question of any kind that no test will ask (fixed facts belong to both)."""
    kind = rng.choices(list(weights), list(weights.values()))[0]
    return _draw(rng, kind, held_out=False)


def held_out_questions(seed: int, number: int, kinds: list[str] | None = None) -> list[Question]:
    """`number` questions in turn over the kinds; never one used in training, facts excepted."""
    rng = random.Random(seed)
    kinds = kinds or MEASURED
    return [_draw(rng, kinds[i % len(kinds)], held_out=True) for i in range(number)]


def _draw(rng: random.Random, kind: str, *, held_out: bool) -> Question:
    while True:
        question = MAKERS[kind][1](rng)
        if not question.key or question.is_held_out == held_out:
            return question
