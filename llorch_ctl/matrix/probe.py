"""Asking one ready worker everything that its cell is judged by."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    _ask_in_company(client, matrix, seen, tell)
    _ask_batched(client, matrix, seen, tell)
    if matrix.speed.enabled:
        seen.speed = _measure(client, matrix.speed, tell)
    seen.rss_bytes = client.health().get("rss_bytes")


def _ask_alone(client: Client, matrix: Matrix, seen: Observation, tell: Tell) -> None:
    """Each close case on an otherwise idle worker: all runs but the last."""
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


def _ask_in_company(client: Client, matrix: Matrix, seen: Observation, tell: Tell) -> None:
    """The last run of each close case, all at once, each to be the same as alone."""
    cases = [case for case in matrix.close_cases if case.name in seen.runs]

    def ask(case: Case) -> Answer:
        return client.ask(case)

    for case, answer in _all_at_once(cases, ask, matrix.limits.parallel, "company", tell):
        if isinstance(answer, Answer):
            seen.runs[case.name].append(answer)
        else:
            seen.faults.setdefault(case.name, str(answer))


def _ask_batched(client: Client, matrix: Matrix, seen: Observation, tell: Tell) -> None:
    """All cases at once and free to share batches; a small set is repeated until `parallel` do."""
    rounds = max(1, -(-matrix.limits.parallel // len(matrix.cases)))
    crowd = list(matrix.cases) * rounds

    def ask(case: Case) -> Answer:
        return client.ask(case, reproducible=False)

    for case, answer in _all_at_once(crowd, ask, matrix.limits.parallel, "batched", tell):
        if isinstance(answer, Answer):
            seen.together.setdefault(case.name, []).append(answer)
        else:
            seen.faults.setdefault(case.name, str(answer))


def _all_at_once(
    cases: Sequence[Case], ask: Callable[[Case], Answer], parallel: int, stage: str, tell: Tell
) -> list[tuple[Case, Answer | AskFailed]]:
    """Ask up to `parallel` at a time, the first of them in the same moment."""
    if not cases:
        return []
    num_done, lock = 0, threading.Lock()
    start = threading.Barrier(min(len(cases), parallel))

    def run(number: int, case: Case) -> tuple[Case, Answer | AskFailed]:
        nonlocal num_done
        if number < start.parties:
            start.wait(60)
        try:
            return case, ask(case)
        except AskFailed as error:
            return case, error
        finally:
            with lock:
                num_done += 1
                tell(stage, num_done, len(cases))

    tell(stage, 0, len(cases))
    with ThreadPoolExecutor(start.parties, thread_name_prefix="matrix-ask") as pool:
        return list(pool.map(run, range(len(cases)), cases))


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
    """Tokens a second after the first, by the worker's clock: on the way, tokens gather in one
    packet and seem faster than they were."""
    seconds, tokens = answer.metrics.get("decode_s") or 0, len(answer.tokens) - 1
    return tokens / seconds if seconds > 0 and tokens > 0 else None


def _prefill_rate(answer: Answer) -> float | None:
    """By the worker's clock; tokens that came from a cache were not computed."""
    seconds = answer.metrics.get("prefill_s") or 0
    tokens = (answer.metrics.get("prompt_tokens") or 0) - (answer.metrics.get("cached_tokens") or 0)
    return tokens / seconds if seconds > 0 and tokens > 0 else None


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None
