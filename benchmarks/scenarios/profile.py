"""Python's share of a step, with sixteen clients."""

from __future__ import annotations

import time
from collections import Counter

import psutil

from benchmarks.load import Load, offer
from benchmarks.peer.profiler import Profile, profiling
from benchmarks.prompts import WORDS_100
from benchmarks.servers.worker import Worker
from benchmarks.session import Session
from benchmarks.table import Table

CONTEXT, SLOTS, CLIENTS = 16384, 16, 16
_SECONDS, _QUICK_SECONDS = 20, 3
_SHOWN = 8
_ENGINE, _EVENT_LOOP = "engine", "MainThread"


def run(session: Session) -> None:
    for model in session.models:
        measure(session, model)


def measure(session: Session, model: str) -> None:
    session.say(f"profile of {model} with {CLIENTS} clients")
    seconds = _QUICK_SECONDS if session.quick else _SECONDS
    with session.worker(model, CONTEXT, SLOTS, "--no-draft") as worker:
        offer(worker, Load.usual(CLIENTS, WORDS_100), 0)
        cores = cores_used(worker, seconds)
        with profiling(worker.pid, seconds, lock_only=True) as python:
            keep_busy(worker, seconds)
        with profiling(worker.pid, seconds, lock_only=False) as everything:
            keep_busy(worker, seconds)
    session.report(_shares(model, python, cores, seconds), _functions(model, everything, seconds))


def keep_busy(worker: Worker, seconds: float) -> None:
    """Load without a pause, for at least so long."""
    until, turn = time.monotonic() + seconds, int(time.monotonic())
    while time.monotonic() < until:
        turn += 1
        offer(worker, Load.usual(CLIENTS, WORDS_100), turn)


def cores_used(worker: Worker, seconds: float) -> tuple[float, float]:
    """By the whole worker and by its event loop, without a profiler."""
    process, before = psutil.Process(worker.pid), _cpu_s(worker.pid)
    began, total = time.monotonic(), sum(process.cpu_times()[:2])
    keep_busy(worker, seconds)
    took = time.monotonic() - began
    loop = _cpu_s(worker.pid) - before
    return (sum(process.cpu_times()[:2]) - total) / took, loop / took


def _cpu_s(pid: int) -> float:
    """CPU seconds of the main thread, which runs the event loop."""
    threads = psutil.Process(pid).threads()
    return float(sum(t.user_time + t.system_time for t in threads if t.id == pid))


def _shares(model: str, python: Profile, cores: tuple[float, float], seconds: int) -> Table:
    table = Table(f"Python's share of a step, {model}, {CLIENTS} clients", ("what", "share"))
    table.add("engine thread runs Python", f"{python.share(_ENGINE):.1%} of the time")
    table.add("event loop runs Python", f"{python.share(_EVENT_LOOP):.1%} of the time")
    table.add("event loop's thread, without a profiler", f"{cores[1]:.1%} of a core")
    table.add("whole worker, without a profiler", f"{cores[0]:.2f} cores")
    table.notes.append(
        f"py-spy over {seconds} s: looks in which the thread held Python's lock. Nobody holds it "
        "while llama.cpp computes, so the engine thread's share is Python's share of a step. No "
        "drafts."
    )
    return table


def _functions(model: str, everything: Profile, seconds: int) -> Table:
    """By the innermost Python function: that which called llama.cpp has llama.cpp's time."""
    table = Table(f"Where a step goes, {model}, {CLIENTS} clients", ("function", "share"))
    functions = everything.functions.get(_ENGINE, Counter())
    for function, count in functions.most_common(_SHOWN):
        table.add(function, f"{count / functions.total():.1%}")
    table.notes.append(
        f"py-spy over {seconds} s: the innermost Python function of the engine thread, with what "
        "it called in C."
    )
    return table
