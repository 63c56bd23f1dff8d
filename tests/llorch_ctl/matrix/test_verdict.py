from typing import Any

import pytest

from llorch_ctl.matrix.observation import Fault, SpeedFacts
from llorch_ctl.matrix.result import CellResult, Check, Outcome, Status
from llorch_ctl.matrix.trace import Token
from llorch_ctl.matrix.verdict import judge, traces_of
from tests.llorch_ctl.matrix.builders import (
    CPU,
    RPC,
    make_answer,
    make_matrix,
    make_observation,
)

SAME = traces_of(make_observation())


def judged(**changes: Any) -> CellResult:
    """A cell on rpc with a baseline that answered the same."""
    return judge(make_observation(RPC, **changes), make_matrix(), {CPU: SAME})


def outcomes(cell: CellResult) -> dict[str, str]:
    return {name: check.outcome.value for name, check in cell.checks.items()}


def test_a_cell_in_which_all_is_well_passes_all_checks() -> None:
    cell = judged()
    assert set(outcomes(cell).values()) == {"pass"}
    assert (cell.status, cell.reason, cell.remedy) == (Status.PASSED, "", "")
    assert cell.checks["load"].detail == "0.4 s, 4/4 layers on CPU"
    assert cell.checks["parity"].detail == "5 tokens equal, max |Δ logprob| 0"
    assert cell.speed["ttft_ms"] == 12.0 and "prompt_tokens" in cell.speed


def test_the_baseline_has_nothing_to_be_compared_with() -> None:
    cell = judge(make_observation(), make_matrix(), {})
    assert cell.checks["parity"] == Check.skipped("it is the baseline")
    assert cell.status is Status.PASSED


def test_a_case_that_is_not_reproducible_is_compared_with_nothing() -> None:
    good, other = make_answer("\n", "42"), make_answer("\n", "42", logprob=-0.02)
    cell = judged(runs={"capital": [make_answer("x")] * 3, "sum": [good, other, good]})
    assert cell.checks["reproducible"].detail == "sum: 3 runs, 2 different bodies"
    assert "sum" not in cell.traces
    cell = judged(runs={"sum": [good, good, other]})
    assert cell.checks["reproducible"].detail == "sum: in company not the same bytes as alone"
    assert outcomes(cell)["batched"] == outcomes(cell)["parity"] == "skip"


def test_a_near_tie_passes_and_is_told() -> None:
    likeliest = {"1": -0.70, "9": -0.69}
    mine = (Token("\n", 0, -0.01), Token("43", 9, -0.69, likeliest))
    theirs = (Token("\n", 0, -0.01), Token("42", 1, -0.69, {"1": -0.69, "9": -0.70}))
    answer = make_answer("\n", "43", tokens=mine, text="42")
    seen = make_observation(RPC, runs={"sum": [answer] * 3}, together={"sum": [answer]})
    cell = judge(seen, make_matrix(), {CPU: {"sum": theirs}})
    parity = cell.checks["parity"]
    assert parity.outcome is Outcome.PASS and "1 near ties" in parity.detail
    assert parity.facts["divergences"][0]["kind"] == "tie"


@pytest.mark.parametrize(
    ("changes", "name", "outcome"),
    [
        ({"speed": None}, "speed", "skip"),
        ({"speed": SpeedFacts(fault="no whole answer within 3 s")}, "speed", "fail"),
        ({"speed": SpeedFacts(0.1, None, None)}, "speed", "skip"),
        ({"together": {}}, "batched", "skip"),
        ({"runs": {}, "faults": {"sum": "x"}}, "reproducible", "skip"),
        ({"health": {}}, "load", "pass"),
        ({"health": {"layers_on_device": 0, "layers_total": 4}}, "load", "fail"),
    ],
)
def test_what_could_not_be_seen_is_skipped(
    changes: dict[str, Any], name: str, outcome: str
) -> None:
    assert outcomes(judged(**changes))[name] == outcome


def test_layers_on_the_processor_are_no_fault_of_the_cpu_backend() -> None:
    health = {"layers_on_device": 0, "layers_total": 4}
    cell = judge(make_observation(CPU, health=health), make_matrix(), {})
    assert cell.status is Status.PASSED


def test_a_speed_below_the_floor_fails() -> None:
    matrix = make_matrix("[speed]\nmin_tokens_per_second = 1000")
    check = judge(make_observation(), matrix, {}).checks["speed"]
    assert check.outcome is Outcome.FAIL
    assert check.detail == ("812 tokens/s, first after 12 ms, expected at least 1000 tokens/s")


def test_the_reason_is_the_first_check_that_fails_and_a_next_step() -> None:
    wrong = make_answer("\n", "43")
    cell = judged(runs={"capital": [make_answer("Paris.")] * 3, "sum": [wrong] * 3})
    assert cell.status is Status.FAILED
    assert cell.reason.startswith("answers: sum: expected")
    assert cell.remedy == "ask it yourself: llorch infer one --pool local"


def test_the_last_words_of_a_worker_become_one_line() -> None:
    words = "it exited with code 1; its last words:\n  Traceback\n    File x\n  MemoryError: 3 GB"
    seen = make_observation(is_loaded=False, error=Fault(words, "see the log"))
    cell = judge(seen, make_matrix(), {})
    assert cell.reason == "it exited with code 1; its last words: MemoryError: 3 GB"
    assert (cell.status, cell.remedy) == (Status.ERROR, "see the log")
    assert "Traceback" in cell.checks["load"].detail


def test_a_cancelled_cell_keeps_no_verdict() -> None:
    cell = judged(is_cancelled=True)
    assert cell.status is Status.CANCELLED and set(cell.checks) == {"load"}
    never = judged(is_cancelled=True, is_loaded=False)
    assert never.checks["load"].outcome is Outcome.SKIP
