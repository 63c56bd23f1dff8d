from __future__ import annotations

from pathlib import Path

from tests.faults.miniature import Day, Plan, answers_without_cache


def test_agents_outlive_their_workers_and_answer_as_if_nothing_had_happened(
    tmp_path: Path,
) -> None:
    """The context holds a few of them, RAM some more, and the worker is killed twice."""
    plan = Plan(agents=14, turns=6, kills=2, ctx=2048, ram="2M")
    outcome = Day(plan, tmp_path).play()
    assert (len(outcome.asked), outcome.kills) == (84, 2)
    assert [one.answer for one in outcome.asked] == answers_without_cache(plan, outcome.asked)
    assert outcome.cached_share() > 0.4
    cache = outcome.health["cache"]
    assert cache["restores_total"] > 0
    assert (cache["useless_restores_total"], cache["failures"]) == (0, {})
