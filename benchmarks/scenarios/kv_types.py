"""What a quantised KV cache does to the reference models' answers."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from benchmarks.client import ask
from benchmarks.servers.server import events
from benchmarks.servers.worker import Worker, execute
from benchmarks.session import Session
from benchmarks.table import Table
from pool_core.gguf import read_header
from pool_core.gguf.memory import estimate_memory
from scripts.reference_models.questions import Question, held_out_questions

TYPES = ("f16", "q8_0", "q4_0")
QUESTIONS, QUICK_QUESTIONS = 200, 20
CONTEXT = 4096
_SEED = 99
_WORDS = "river stone cloud lamp window garden winter letter bridge market silver morning".split()
_PAGE = 120  # words before the question, in the second half of the questions


@dataclass(frozen=True, slots=True)
class Reply:
    """Tokens that were chosen, and how sure the model was of each."""

    text: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]


def run(session: Session) -> None:
    for model in session.models:
        measure(session, model)


def measure(session: Session, model: str) -> None:
    number = QUICK_QUESTIONS if session.quick else QUESTIONS
    questions = held_out_questions(_SEED, number)
    prompts = [*(one.text for one in questions), *map(after_a_page, questions)]
    expected = [one.answer for one in questions] * 2
    columns = ("KV type", "right", "as f16", "mean Δ logprob", "max Δ logprob", "bytes a token")
    table = Table(f"KV types, {model}", columns)
    exact: list[Reply] = []
    for kv_type in TYPES:
        session.say(f"KV type {kv_type} on {model}")
        with session.worker(model, CONTEXT, 1, "--kv-type", kv_type) as worker:
            replies = [reply_to(worker, prompt) for prompt in prompts]
        exact = exact or replies
        table.add(kv_type, *_row(replies, exact, expected), _bytes_a_token(session, model, kv_type))
    table.notes.append(
        f"{number} questions of the reference models' held-out set, alone and after a page of "
        f"{_PAGE} words, answered greedily. Δ: of a chosen token's log-probability against f16, as "
        f"far as the chosen tokens are the same."
    )
    session.report(table)


def after_a_page(question: Question) -> str:
    """The same question far from the start of the context."""
    rng = random.Random(question.text)
    return " ".join(rng.choices(_WORDS, k=_PAGE)) + ".\n\n" + question.text


def reply_to(worker: Worker, prompt: str) -> Reply:
    request = execute({"prompt": prompt, "max_tokens": 64, "logprobs": 0})
    tokens = [e for e in events(ask(worker.port, request)) if e["type"] == "token"]
    chosen = [token for token in tokens if "id" in token]
    return Reply(
        "".join(token["t"] for token in tokens).strip(),
        tuple(token["id"] for token in chosen),
        tuple(token["logprob"] for token in chosen),
    )


def differences(reply: Reply, exact: Reply) -> list[float]:
    """Of the log-probabilities, up to the first token that was chosen otherwise."""
    pairs = zip(reply.ids, exact.ids, strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    pairs_of = zip(reply.logprobs[:same], exact.logprobs[:same], strict=True)
    return [abs(one - other) for one, other in pairs_of]


def _row(replies: Sequence[Reply], exact: Sequence[Reply], expected: Sequence[str]) -> list[str]:
    pairs = list(zip(replies, exact, strict=True))
    apart = [delta for pair in pairs for delta in differences(*pair)]
    right = [one.text == answer for one, answer in zip(replies, expected, strict=True)]
    equal = [one.ids == other.ids for one, other in pairs]
    return [
        f"{statistics.mean(right):.1%}",
        f"{statistics.mean(equal):.1%}",
        f"{statistics.mean(apart):.5f}",
        f"{max(apart):.4f}",
    ]


def _bytes_a_token(session: Session, model: str, kv_type: str) -> str:
    header = read_header(session.model(model), facts_only=True)
    return f"{estimate_memory(header, CONTEXT, kv_type=kv_type).kv / CONTEXT:,.0f}"
