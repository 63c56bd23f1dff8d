"""The pure parts of scenarios: what is read out of logs, profiles and answers."""

from __future__ import annotations

from importlib import import_module

import pytest

from benchmarks.load import Load
from benchmarks.peer.profiler import Profile, read_into
from benchmarks.prompts import make_text
from benchmarks.scenarios import SCENARIOS
from benchmarks.scenarios.imports import own_times
from benchmarks.scenarios.kv_types import Reply, differences


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_has_its_module(name: str) -> None:
    assert callable(import_module(f"benchmarks.scenarios.{name.replace('-', '_')}").run)


def test_no_two_prompts_of_a_load_are_alike() -> None:
    scripts = [script for turn in (0, 1) for script in Load.usual(16, 130).scripts(turn)]
    heads = [ask.prompt[:8] for script in scripts for ask in script]
    assert len(set(heads)) == len(heads) == 64
    assert {len(ask.prompt) for script in scripts for ask in script} == {130}


def test_text_is_the_same_for_the_same_seed() -> None:
    assert make_text(20, 1, "a") == make_text(20, 1, "a") != make_text(20, 1, "b")


def test_import_times_are_summed_by_package() -> None:
    log = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:       100 |        100 |   numpy.core\n"
        "import time:        50 |        150 | numpy\n"
        '{"level": "info"}\n'
        "import time:         7 |          7 | worker.serve\n"
    )
    micros, modules = own_times(log)
    assert micros == {"numpy": 150, "worker": 7}
    assert modules == {"numpy": 2, "worker": 1}


def test_profile_is_read_by_thread_and_function() -> None:
    profile = Profile(looks=100)
    raw = (
        "thread (7): engine;run (loop.py:9);step (engine.py:1) 6\n"
        "thread (7): engine;run (loop.py:9);fill (batch.py:2) 2\n"
        "thread (6): MainThread;serve (serve.py:3) 4\n"
    )
    read_into(profile, raw)
    assert profile.share("engine") == 0.08
    assert profile.share("MainThread") == 0.04
    assert profile.functions["engine"].most_common(1) == [("step (engine.py:1)", 6)]


def test_logprobs_are_compared_as_far_as_the_tokens_agree() -> None:
    exact = Reply("ab", (1, 2, 3), (-0.5, -0.25, -1.0))
    other = Reply("ac", (1, 2, 9), (-0.25, -0.25, -3.0))
    assert differences(other, exact) == [0.25, 0.0]
