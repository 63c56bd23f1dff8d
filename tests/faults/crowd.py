"""Reproducible requests in a crowd: the same bytes, whoever else is there.

python -m tests.faults.crowd --requests 1000 --others 15 --backend rpc
"""

from __future__ import annotations

import argparse
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from tests.rigs.http import call
from tests.rigs.rpc import rpc_server
from tests.rigs.worker import MODELS, WorkerProcess

PROMPTS = (
    "What is the capital of France?",
    "Write a haiku about rain",
    "Say river stone lamp",
    "Count from 2 to 9",
    "Once there was a garden. " * 30 + "What is 3 + 4?",  # more than two blocks
    "The letter lay in the winter window. " * 25 + "Say garden",
)
BACKENDS = ("cpu", "rpc")


def body(prompt: str, **fields: Any) -> dict[str, Any]:
    return {"job_id": "crowd", "prompt": prompt, "max_tokens": 16, "logprobs": 2} | fields


def sampled(prompt_at: int) -> dict[str, Any]:
    """Half of them greedy, half of them drawn."""
    return {"temperature": 1.0, "seed": prompt_at} if prompt_at % 2 else {}


@contextmanager
def crowd(url: str, others: int) -> Iterator[None]:
    """So many clients that ask for anything, and sometimes hang up."""
    stop = threading.Event()

    def bother(seed: int) -> None:
        mood = random.Random(seed)
        while not stop.is_set():
            text = "".join(mood.choice("abcdef ghij.") for _ in range(mood.randrange(5, 900)))
            fields: dict[str, Any] = {
                "reproducible": mood.random() < 0.2,
                "temperature": mood.choice((0, 0.8)),
                "max_tokens": mood.randrange(1, 40),
                "agent": mood.choice((None, f"agent {mood.randrange(6)}")),
            }
            with suppress(OSError):
                call(url, "/execute", body(text, **fields), timeout=mood.choice((0.05, 60, 60)))

    with ThreadPoolExecutor(others) as clients:
        for seed in range(others):
            clients.submit(bother, seed)
        try:
            yield
        finally:
            stop.set()


def distinct_answers(url: str, requests: int, others: int) -> dict[int, Counter[bytes]]:
    """How often each prompt, by its number, got each answer, log-probabilities included."""
    answers: dict[int, Counter[bytes]] = defaultdict(Counter)
    lock = threading.Lock()

    def ask(n: int) -> None:
        at = n % len(PROMPTS)
        answer = call(url, "/execute", body(PROMPTS[at], **sampled(at)), timeout=300)
        assert answer.status == 200, answer.text
        assert answer.events[-1]["type"] == "end", answer.text
        with lock:
            answers[at][answer.raw] += 1

    for n in range(len(PROMPTS)):
        ask(n)  # alone, before anybody else is there
    with crowd(url, others), ThreadPoolExecutor(2) as clients:
        list(clients.map(ask, range(len(PROMPTS), requests)))
    return answers


@contextmanager
def serving(backend: str, *options: str) -> Iterator[WorkerProcess]:
    options = ("--ctx", "32768", "--slots", "16", *options)
    if backend == "cpu":
        with WorkerProcess(*options) as worker:
            yield worker.wait_ready()
        return
    with rpc_server("--model", str(MODELS / "ref-llama.gguf")) as server:
        with WorkerProcess(*options, "--backend", "rpc", "--rpc", server.endpoint) as worker:
            yield worker.wait_ready()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--others", type=int, default=15)
    parser.add_argument("--backend", choices=BACKENDS, default="cpu")
    args = parser.parse_args()
    with serving(args.backend) as worker:
        answers = distinct_answers(worker.url, args.requests, args.others)
    for at, counts in sorted(answers.items()):
        print(f"{PROMPTS[at][:40]!r}: {sum(counts.values())} requests, {len(counts)} distinct")


if __name__ == "__main__":
    main()
