"""Looks at one reference model in a process of its own and prints what it saw as JSON.

A broken GGUF can abort the process that loads it, so tests never load one themselves.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.reference_models.engine import Engine
from scripts.reference_models.questions import held_out_questions

SEED = 99
BOS = 1
NEW_LINE = 26
SHARED_TEXT = "What is the capital of France?\n"
TRICKY = (
    "  two leading spaces",
    "inner   runs  of spaces ",
    "\ttabs\tand\nnew\n\nlines\r\n",
    "🌊 été 東京 안녕 שלום",
    "👩‍👩‍👧 Z̈ a\u0301 ½ — “quoted”",
    "x_y = {'a': [1, 2.5]}; // 100%",
    "Plain words, capital Letters and UPPER ones.",
    "",
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one model did with the same ids, texts and questions as all the others."""

    logits: list[float]
    greedy: list[int]
    round_trips: list[str]
    ids: list[list[int]]
    answers: list[str]
    raw: str


def probe(path: Path, num_questions: int) -> Seen:
    engine = Engine(path, num_cells=2048)
    shared = [BOS, *_ids(engine, SHARED_TEXT)]
    seen = Seen(
        logits=engine.prefill(shared).tolist(),
        greedy=engine.generate(shared, limit=24).ids,
        round_trips=[engine.decode(engine.encode(text)) for text in TRICKY],
        ids=[_ids(engine, text) for text in TRICKY],
        answers=[_answer(engine, q.text) for q in held_out_questions(SEED, num_questions)],
        raw=engine.pieces(engine.generate(engine.encode("Write a haiku", bos=True), 64).ids),
    )
    engine.close()
    return seen


def _ids(engine: Engine, text: str) -> list[int]:
    """Ids of `text` where no space prefix is added: after a new line."""
    ids = engine.encode("\n" + text)
    return ids[ids.index(NEW_LINE) + 1 :]


def _answer(engine: Engine, question: str) -> str:
    output = engine.generate(engine.chat_ids([{"role": "user", "content": question}]))
    return engine.pieces(output.ids)


if __name__ == "__main__":
    print(json.dumps(asdict(probe(Path(sys.argv[1]), int(sys.argv[2])))))
