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


def run(session: Session) -> None:
    for model in session.models:
        measure(session, model)


def measure(session: Session, model: str) -> None:
    session.say(f"profile of {model} with {CLIENTS} clients")
    seconds = _QUICK_SECONDS if session.quick else _SECONDS
    with session.worker(model, CONTEXT, SLOTS, "--no-draft") as worker:
        offer(worker, Load.usual(CLIENTS, WORDS_100), 0)
        cores = cores_used(worker, seconds)
        with profiling(worker.pid, seconds) as profile:
            keep_busy(worker, seconds)
    session.report(_table(model, profile, cores, seconds))


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


def _table(model: str, profile: Profile, cores: tuple[float, float], seconds: int) -> Table:
    table = Table(f"Python's share of a step, {model}, {CLIENTS} clients", ("what", "share"))
    for thread, label in (
        ("engine", "engine thread runs Python"),
        ("MainThread", "event loop runs Python"),
    ):
        table.add(f"{label} (of all time)", f"{profile.share(thread):.1%}")
    table.add("event loop's thread, of one core, no profiler", f"{cores[1]:.1%}")
    table.add("whole worker, cores, no profiler", f"{cores[0]:.2f}")
    for thread in ("engine", "MainThread"):
        for function, count in profile.functions.get(thread, Counter()).most_common(_SHOWN):
            table.add(f"{thread}: {function}", f"{count / max(1, profile.looks):.1%}")
    table.notes.append(
        f"py-spy over {seconds} s: looks in which the thread held Python's lock. While llama.cpp "
        "computes nobody holds it, so the engine thread's share is Python's share of a step."
    )
    return table
