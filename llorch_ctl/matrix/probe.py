"""Asking one ready worker everything that its cell is judged by."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Protocol

from llorch_ctl.matrix.client import AskFailed
from llorch_ctl.matrix.observation import Observation, SpeedFacts
from llorch_ctl.matrix.spec import Case, Matrix, Speed
from llorch_ctl.matrix.trace import Answer

Tell = Callable[[str, int, int], None]


class Client(Protocol):
    """What a probe needs of a worker; WorkerClient is the real one."""

    def health(self) -> dict[str, Any]: ...
    def ask(self, case: Case, *, reproducible: bool = True) -> Answer: ...
    def time(self, prompt: str, max_tokens: int) -> Answer: ...


def observe(client: Client, matrix: Matrix, seen: Observation, tell: Tell) -> None:
    """Fill `seen`. `tell` hears the stage, how much of it is done, and of how much.

    Raises WorkerGone when the worker does not survive it; what was seen until then is kept.
    """
    seen.health = client.health()
    seen.is_loaded = True
    _ask_alone(client, matrix, seen, tell)
    _ask_together(client, matrix, seen, tell)
    if matrix.speed.enabled:
        seen.speed = _measure(client, matrix.speed, tell)
    seen.rss_bytes = client.health().get("rss_bytes")


def _ask_alone(client: Client, matrix: Matrix, seen: Observation, tell: Tell) -> None:
    """Each close case on an otherwise idle worker: all once, then all again, but for the last
    run, which is asked in company."""
    for run in range(matrix.limits.runs - 1):
        stage = "answers" if run == 0 else "again"
        cases = [case for case in matrix.close_cases if case.name not in seen.faults]
        for done, case in enumerate(cases):
            tell(stage, done, len(cases))
            try:
                seen.runs.setdefault(case.name, []).append(client.ask(case))
            except AskFailed as error:
                seen.faults[case.name] = str(error)
                seen.runs.pop(case.name, None)


@dataclass(frozen=True, slots=True)
class _Question:
    """One request of the crowd. A reproducible one is the last run of its case."""

    case: Case
    reproducible: bool


def _ask_together(client: Client, matrix: Matrix, seen: Observation, tell: Tell) -> None:
    """Everything at once: the last run of each close case, and all cases free to be batched."""
    crowd = _make_crowd(matrix, seen)
    num_done, lock = 0, threading.Lock()
    start = threading.Barrier(min(len(crowd), matrix.limits.parallel))

    def ask(number: int, question: _Question) -> Answer | AskFailed:
        nonlocal num_done
        if number < start.parties:
            start.wait(60)
        try:
            return client.ask(question.case, reproducible=question.reproducible)
        except AskFailed as error:
            return error
        finally:
            with lock:
                num_done += 1
                tell("together", num_done, len(crowd))

    tell("together", 0, len(crowd))
    with ThreadPoolExecutor(start.parties, thread_name_prefix="matrix-ask") as pool:
        answers = pool.map(ask, range(len(crowd)), crowd)
        for question, answer in zip(crowd, answers, strict=True):
            name = question.case.name
            if isinstance(answer, AskFailed):
                seen.faults.setdefault(name, str(answer))
            elif question.reproducible:
                seen.runs[name].append(answer)
            else:
                seen.together.setdefault(name, []).append(answer)


def _make_crowd(matrix: Matrix, seen: Observation) -> list[_Question]:
    """The two kinds in turn; a small set of cases is repeated until `parallel` are batched."""
    rounds = max(1, -(-matrix.limits.parallel // len(matrix.cases)))
    free = [_Question(case, False) for case in matrix.cases] * rounds
    last = [_Question(case, True) for case in matrix.close_cases if case.name in seen.runs]
    pairs = zip_longest(last, free)
    return [question for pair in pairs for question in pair if question is not None]


def _measure(client: Client, speed: Speed, tell: Tell) -> SpeedFacts:
    answers = []
    for run in range(speed.runs):
        tell("speed", run, speed.runs)
        try:
            answers.append(client.time(_speed_prompt(speed, run), speed.max_tokens))
        except AskFailed as error:
            return SpeedFacts(fault=str(error))
    return SpeedFacts(
        first_token_s=_median([a.first_token_s for a in answers if a.tokens]),
        decode_per_s=_median([rate for a in answers if (rate := _decode_rate(a))]),
        prefill_per_s=_median([rate for a in answers if (rate := _prefill_rate(a))]),
        prompt_tokens=answers[-1].metrics.get("prompt_tokens"),
    )


def _speed_prompt(speed: Speed, run: int) -> str:
    """Words the model need not understand, then the question; each run starts differently,
    so that no cached prefix makes the prefill look fast."""
    words = [f"{run + 1}. note"] + ["river", "stone", "cloud", "light"] * speed.prefill_words
    filler = " ".join(words[: speed.prefill_words])
    return f"{filler}\n\n{speed.prompt}" if filler else speed.prompt


def _decode_rate(answer: Answer) -> float | None:
    """Tokens a second after the first, by the client's clock: what a user sees."""
    seconds = answer.last_token_s - answer.first_token_s
    return (len(answer.tokens) - 1) / seconds if len(answer.tokens) > 2 and seconds > 0 else None


def _prefill_rate(answer: Answer) -> float | None:
    """By the worker's clock; tokens that came from a cache were not computed."""
    seconds = answer.metrics.get("prefill_s") or 0
    tokens = (answer.metrics.get("prompt_tokens") or 0) - (answer.metrics.get("cached_tokens") or 0)
    return tokens / seconds if seconds > 0 and tokens > 0 else None


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None
