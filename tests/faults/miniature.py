"""A day of agents in miniature: many agents, few fit into the context, and the worker dies.

python -m tests.faults.miniature --agents 200 --turns 20 --kills 5
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.rigs.http import call
from tests.rigs.worker import WorkerProcess

CLIENTS = 6
ANSWER_TOKENS = 24
RSS_EVERY = 25  # answers
QUESTIONS = (
    "What is the capital of {place}?",
    "What is {a} + {b}?",
    "Say {words}",
    "Count from {a} to {c}",
)
PLACES = ("France", "Japan", "Italy", "Spain", "Egypt", "Norway", "Peru", "Kenya")
WORDS = ("river", "stone", "cloud", "lamp", "window", "garden", "winter", "letter")

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Plan:
    """`ctx` cells hold some ten agents at the end, `ram` four times as many."""

    agents: int
    turns: int
    kills: int
    model: str = "ref-llama"
    ctx: int = 8192
    ram: str = "64M"
    seed: int = 7


@dataclass(frozen=True)
class Asked:
    """One request that was answered: all it sent, and what came back."""

    agent: str
    messages: Messages
    answer: str
    prompt_tokens: int
    cached_tokens: int


@dataclass
class Outcome:
    asked: list[Asked] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)  # bytes, while the last worker ran
    health: dict[str, Any] = field(default_factory=dict)  # of the last worker, at its end
    kills: int = 0

    def cached_share(self) -> float:
        """Of the prompt tokens that an agent had sent before, how many were not computed."""
        before: dict[str, int] = {}
        seen = hit = 0
        for one in self.asked:
            seen += before.get(one.agent, 0)
            hit += min(one.cached_tokens, before.get(one.agent, 0))
            before[one.agent] = one.prompt_tokens
        return hit / max(1, seen)


class Day:
    """Plays the plan. One worker after another serves it, all on one folder of agents."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._random = random.Random(plan.seed)
        self._outcome = Outcome()
        self._lock = threading.Lock()
        self._alive = threading.Condition()
        self._worker: WorkerProcess | None = None

    def play(self) -> Outcome:
        plan, outcome = self._plan, self._outcome
        order = [f"agent-{n}" for n in range(plan.agents)] * plan.turns
        self._random.shuffle(order)
        talks: dict[str, Messages] = {name: [] for name in order}
        locks = {name: threading.Lock() for name in order}
        kill_at = set(self._random.sample(range(len(order) // 8, len(order)), plan.kills))
        with ThreadPoolExecutor(CLIENTS) as clients, self._serving():
            futures = []
            for at, name in enumerate(order):
                if at in kill_at:
                    self._wait_for(futures, at // 2)
                    self._kill()
                question = self._question()
                futures.append(clients.submit(self._turn, name, talks[name], locks[name], question))
            for future in futures:
                future.result()
            assert self._worker is not None
            outcome.health = call(self._worker.url, "/health").json()
        return outcome

    def _wait_for(self, futures: list[Any], count: int) -> None:
        """Let the clients get so far before the worker dies under them."""
        while sum(future.done() for future in futures) < count:
            time.sleep(0.01)

    def _turn(self, name: str, talk: Messages, lock: threading.Lock, question: str) -> None:
        with lock:
            messages = [*talk, {"role": "user", "content": question}]
            answer = self._ask(name, messages)
            text = answer["choices"][0]["message"]["content"]
            talk[:] = [*messages, {"role": "assistant", "content": text}]
        usage = answer["usage"]
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        asked = Asked(name, messages, text, usage["prompt_tokens"], cached)
        with self._lock:
            self._outcome.asked.append(asked)
            if self._worker is not None and len(self._outcome.asked) % RSS_EVERY == 0:
                rss = psutil.Process(self._worker.process.pid).memory_info().rss
                self._outcome.rss.append(rss)

    def _ask(self, name: str, messages: Messages) -> Any:
        """Again, until a worker lives long enough to answer."""
        while True:
            with self._alive:
                self._alive.wait_for(lambda: self._worker is not None)
                assert self._worker is not None
                url = self._worker.url
            try:
                return ask(url, messages, agent=name)
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                time.sleep(0.05)

    def _question(self) -> str:
        a = self._random.randrange(1, 9)
        return self._random.choice(QUESTIONS).format(
            place=self._random.choice(PLACES),
            words=" ".join(self._random.sample(WORDS, 3)),
            a=a,
            b=self._random.randrange(1, 30),
            c=a + self._random.randrange(2, 6),
        )

    @contextmanager
    def _serving(self) -> Iterator[None]:
        self._start()
        try:
            yield
        finally:
            assert self._worker is not None
            self._worker.__exit__(None, None, None)

    def _start(self) -> None:
        plan = self._plan
        worker = WorkerProcess(
            *("--ctx", str(plan.ctx), "--slots", "8", "--ram-cache", plan.ram),
            *("--agents", str(self._folder)),
            model=plan.model,
        ).wait_ready()
        self._outcome.rss.clear()
        with self._alive:
            self._worker = worker
            self._alive.notify_all()

    def _kill(self) -> None:
        worker = self._worker
        assert worker is not None
        with self._alive:
            self._worker = None
        worker.process.kill()
        worker.__exit__(None, None, None)
        self._outcome.kills += 1
        self._start()


def ask(url: str, messages: Messages, *, agent: str | None = None, cache: bool = True) -> Any:
    """One turn; raises OSError or an HTTPException when the worker dies over it."""
    body = {
        "model": "ref-llama",
        "messages": messages,
        "max_tokens": ANSWER_TOKENS,
        "temperature": 0,
        "cache_prompt": cache,
    }
    headers = {} if agent is None else {"X-Agent-Id": agent}
    answer = call(url, "/v1/chat/completions", body, headers=headers, timeout=120)
    if answer.status in (429, 503):
        raise OSError(answer.text)
    assert answer.status == 200, answer.text
    return answer.json()


def answers_without_cache(plan: Plan, asked: list[Asked]) -> list[str]:
    """What a worker says that computes every token, one request at a time."""
    with WorkerProcess("--ctx", str(plan.ctx), "--slots", "8", model=plan.model) as worker:
        worker.wait_ready()

        def answer(one: Asked) -> str:
            text = ask(worker.url, one.messages, cache=False)["choices"][0]["message"]["content"]
            return str(text)

        with ThreadPoolExecutor(CLIENTS) as clients:
            return list(clients.map(answer, asked))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("agents", 200), ("turns", 20), ("kills", 5), ("ctx", 8192)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--ram", default="64M")
    args = parser.parse_args()
    plan = Plan(args.agents, args.turns, args.kills, ctx=args.ctx, ram=args.ram)
    with tempfile.TemporaryDirectory() as folder:
        outcome = Day(plan, Path(folder)).play()
    expected = answers_without_cache(plan, outcome.asked)
    wrong = [one for one, text in zip(outcome.asked, expected, strict=True) if one.answer != text]
    print(f"{len(outcome.asked)} answers, {outcome.kills} kills, {len(wrong)} differ")
    print(f"{outcome.cached_share():.1%} of what was sent before was not computed again")
    print(f"MiB while the last worker ran: {[size >> 20 for size in outcome.rss]}")
    print(json.dumps(outcome.health["cache"], indent=2))


if __name__ == "__main__":
    main()
