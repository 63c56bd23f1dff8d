"""Generating with an Engine in the test's own thread, step by step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from worker.engine.engine import Engine
from worker.engine.events import EngineEvent, Failed, Finished, TokenEvent
from worker.engine.params import SamplingParams
from worker.engine.request import GenerateRequest
from worker.engine.runner import ModelRunner

QUESTIONS = (
    "What is the capital of France?",
    "What is 17 + 25?",
    "Say river stone 7",
    "Count from 3 to 9",
    "Write a haiku",
    "Give JSON for a city named Paris with population 7",
    "Hello",
    "Write a haiku about rain",
)


@dataclass
class Answer:
    """What came of one request."""

    tokens: list[TokenEvent] = field(default_factory=list)
    end: Finished | Failed | None = None

    @property
    def text(self) -> str:
        tail = self.end.text if isinstance(self.end, Finished) else ""
        return "".join(token.text for token in self.tokens) + tail

    @property
    def ids(self) -> list[int]:
        return [token.token_id for token in self.tokens]

    @property
    def exact(self) -> list[tuple[int, float | None]]:
        """Ids with log-probabilities to the last bit."""
        return [(token.token_id, token.logprob) for token in self.tokens]


def request(
    runner: ModelRunner, name: str, text: str, *, reproducible: bool = False, **params: Any
) -> GenerateRequest:
    prompt = runner.vocab.tokenize(text, add_special=True, parse_special=False)
    params.setdefault("max_tokens", 40)
    return GenerateRequest(name, tuple(prompt), SamplingParams(**params), reproducible)


def new_engine(runner: ModelRunner) -> Engine:
    """For a runner that another engine may have used, and left something in."""
    for slot in range(runner.num_slots):
        runner.release(slot)
    return Engine(runner)


def run(runner: ModelRunner, requests: Iterable[GenerateRequest]) -> dict[str, Answer]:
    """All of them at once, to the end, on a cache that is empty."""
    for slot in range(runner.num_slots):
        runner.release(slot)  # what the engine before this one kept
    engine = new_engine(runner)
    for one in requests:
        engine.add(one)
    events: list[EngineEvent] = []
    while engine.has_work:
        events += engine.step()
    return collect(events)


def ask(runner: ModelRunner, text: str, **options: Any) -> Answer:
    """One, alone."""
    return run(runner, [request(runner, "q", text, **options)])["q"]


def collect(events: Iterable[EngineEvent]) -> dict[str, Answer]:
    answers: dict[str, Answer] = defaultdict(Answer)
    for event in events:
        if isinstance(event, TokenEvent):
            answers[event.request_id].tokens.append(event)
        else:
            assert answers[event.request_id].end is None, "a second end"
            answers[event.request_id].end = event
    return answers
