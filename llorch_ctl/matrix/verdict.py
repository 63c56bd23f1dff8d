"""From what was seen to what it means: pure functions, one for each check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llorch_ctl.matrix.checks import find_fault
from llorch_ctl.matrix.observation import Observation
from llorch_ctl.matrix.parity import Comparison, compare
from llorch_ctl.matrix.plan import CellKey
from llorch_ctl.matrix.result import CellResult, Check, Outcome, Status
from llorch_ctl.matrix.spec import Matrix
from llorch_ctl.matrix.trace import Answer, Token

Traces = Mapping[str, tuple[Token, ...]]
NEXT_STEPS = {
    "load": "see: llorch backend check {backend} --pool {pool}",
    "answers": "ask it yourself: llorch infer {model} --pool {pool}",
    "reproducible": "run it again on an idle machine; if it stays, report the backend's build",
    "parity": "compare the builds of both backends, or raise [parity] tolerance",
    "batched": "use slots = 1 with this backend until its build is replaced",
    "speed": "look for other load on the machine, or lower [speed] min_tokens_per_second",
}


def judge(
    seen: Observation, matrix: Matrix, baselines: Mapping[CellKey, Traces | None]
) -> CellResult:
    """The verdict on one cell. A baseline of None gave no traces to compare with."""
    checks = {"load": _judge_load(seen)}
    if seen.is_loaded and seen.error is None and not seen.is_cancelled:
        checks |= {
            "answers": _judge_answers(seen, matrix),
            "reproducible": _judge_reproducible(seen, matrix),
            "parity": _judge_parity(seen, matrix, baselines),
            "batched": _judge_batched(seen, matrix),
            "speed": _judge_speed(seen, matrix),
        }
    status, reason, remedy = _sum_up(seen, checks)
    return CellResult(
        cell=seen.cell,
        status=status,
        checks=checks,
        reason=reason,
        remedy=remedy,
        speed=_speed_record(seen),
        machine=seen.machine,
        worker=seen.worker,
        traces=traces_of(seen),
        started=seen.started,
        finished=seen.finished,
        seconds=seen.seconds,
    )


def traces_of(seen: Observation) -> Traces:
    """The first run of each close case that gave the same in all its runs."""
    return {name: runs[0].tokens for name, runs in seen.runs.items() if is_same(runs)}


def is_same(runs: list[Answer]) -> bool:
    return len({run.body for run in runs}) == 1


def _sum_up(seen: Observation, checks: Mapping[str, Check]) -> tuple[Status, str, str]:
    if seen.error:
        status = Status.SKIPPED if seen.is_absent else Status.ERROR
        return status, _one_line(seen.error.message), seen.error.remedy
    if seen.is_cancelled:
        return Status.CANCELLED, "cancelled", "run it again with --resume"
    for name, check in checks.items():
        if check.outcome is Outcome.FAIL:
            step = NEXT_STEPS.get(name, "")
            step = step.format(
                model=seen.cell.model, backend=seen.cell.backend, pool=seen.cell.pool
            )
            return Status.FAILED, f"{name}: {check.detail}", step
    return Status.PASSED, "", ""


def _one_line(message: str) -> str:
    """A dead worker's last words are many lines: the first says what, the last says why."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " ".join(dict.fromkeys((*lines[:1], *lines[-1:])))


def _judge_load(seen: Observation) -> Check:
    if not seen.is_loaded:
        if seen.error is None or seen.is_absent:
            return Check.skipped(str(seen.error or "not started"))
        return Check(Outcome.FAIL, str(seen.error), "fail")
    layers, total = seen.health.get("layers_on_device"), seen.health.get("layers_total")
    device = seen.health.get("device") or seen.cell.backend
    seconds = f"{seen.load_s:.1f} s" if seen.load_s is not None else "loaded"
    where = f"{layers}/{total} layers on {device}" if total else f"on {device}"
    if seen.cell.backend != "cpu" and total and layers != total:
        return Check(Outcome.FAIL, f"{where}: the rest fell back to the CPU", "fell back")
    return Check(Outcome.PASS, f"{seconds}, {where}", seconds)


def _judge_answers(seen: Observation, matrix: Matrix) -> Check:
    faults: dict[str, str] = {}
    texts: dict[str, str] = {}
    for case in matrix.cases:
        answers = seen.runs.get(case.name) or seen.together.get(case.name)
        if answers:
            texts[case.name] = answers[0].text
        fault = seen.faults.get(case.name) if not answers else find_fault(case, answers[0].text)
        if fault or not answers:
            faults[case.name] = fault or "not asked"
    total = len(matrix.cases)
    brief = f"{total - len(faults)}/{total}"
    facts = {"texts": texts, "faults": faults}
    if faults:
        name, fault = next(iter(faults.items()))
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        return Check(Outcome.FAIL, f"{name}: {fault}{more}", brief, facts)
    return Check(Outcome.PASS, f"{brief} right", brief, facts)


def _judge_reproducible(seen: Observation, matrix: Matrix) -> Check:
    names = [name for name, runs in seen.runs.items() if len(runs) == matrix.limits.runs]
    if not names:
        return Check.skipped("no case was answered")
    differ = [name for name in names if not is_same(seen.runs[name])]
    if differ:
        detail = f"{differ[0]}: {_how_it_differs(seen.runs[differ[0]])}"
        return Check(Outcome.FAIL, detail, "fail", {"differ": differ})
    detail = f"{len(names)} cases, {matrix.limits.runs} runs, the last in company, same bytes"
    return Check(Outcome.PASS, detail, "ok")


def _how_it_differs(runs: list[Answer]) -> str:
    if is_same(runs[:-1]):
        return "in company not the same bytes as alone"
    return f"{len(runs)} runs, {len({run.body for run in runs})} different bodies"


def _judge_parity(
    seen: Observation, matrix: Matrix, baselines: Mapping[CellKey, Traces | None]
) -> Check:
    if not baselines:
        is_first = seen.cell.backend == matrix.backends[0]
        return Check.skipped(
            "it is the baseline" if is_first else "its baseline is not in this run"
        )
    own = traces_of(seen)
    results: list[tuple[CellKey, str, Comparison]] = []
    for key, traces in baselines.items():
        for name, trace in (traces or {}).items():
            if name in own:
                limits = matrix.parity
                found = compare(trace, own[name], limits.tolerance, limits.tokens)
                results.append((key, name, found))
    if not results:
        missing = next((key for key, traces in baselines.items() if not traces), None)
        why = f"no traces of {missing}" if missing else "no reproducible case to compare"
        return Check.skipped(why)
    return _sum_parity(seen.cell, results)


def _sum_parity(cell: CellKey, results: list[tuple[CellKey, str, Comparison]]) -> Check:
    largest = max(found.max_delta for _, _, found in results)
    num_tokens = sum(found.num_tokens for _, _, found in results)
    facts = {"max_delta": largest, "tokens": num_tokens, "divergences": _divergences(results)}
    for key, name, found in results:
        if not found.is_equal and found.divergence:
            other = key.backend if key.pool == cell.pool else f"{key.backend} on {key.pool}"
            detail = f"{name}: differs from {other} at {found.divergence}"
            return Check(Outcome.FAIL, detail, f"token {found.divergence.position}", facts)
    ties = sum(found.divergence is not None for _, _, found in results)
    tied = f", {ties} near ties" if ties else ""
    detail = f"{num_tokens} tokens equal, max |Δ logprob| {largest:.2g}{tied}"
    return Check(Outcome.PASS, detail, _delta(largest), facts)


def _divergences(results: list[tuple[CellKey, str, Comparison]]) -> list[dict[str, Any]]:
    return [
        {
            "baseline": str(key),
            "case": name,
            "kind": found.divergence.kind.value,
            "position": found.divergence.position,
            "expected": found.divergence.expected and found.divergence.expected.to_list(),
            "got": found.divergence.got and found.divergence.got.to_list(),
            "delta": found.divergence.delta,
            "context": found.divergence.context,
        }
        for key, name, found in results
        if found.divergence is not None
    ]


def _delta(value: float) -> str:
    return "0" if value == 0 else f"{value:.0e}".replace("e-0", "e-")


def _judge_batched(seen: Observation, matrix: Matrix) -> Check:
    largest, num_answers = 0.0, 0
    for name, alone in traces_of(seen).items():
        for answer in seen.together.get(name, ()):
            limit = max(len(alone), len(answer.tokens))
            found = compare(alone, answer.tokens, matrix.parity.tolerance, limit)
            if not found.is_equal:
                detail = f"{name}: in company differs from alone at {found.divergence}"
                return Check(Outcome.FAIL, detail, "fail")
            largest, num_answers = max(largest, found.max_delta), num_answers + 1
    if not num_answers:
        return Check.skipped("no reproducible case to compare")
    exact = "exactly" if largest == 0 else f"within {largest:.2g}"
    return Check(Outcome.PASS, f"{num_answers} answers at once equal those alone, {exact}", "ok")


def _judge_speed(seen: Observation, matrix: Matrix) -> Check:
    if seen.speed is None:
        return Check.skipped("not measured")
    if seen.speed.fault:
        return Check(Outcome.FAIL, seen.speed.fault, "fail")
    rate = seen.speed.decode_per_s
    if rate is None:
        return Check.skipped("too few tokens to measure")
    wanted = matrix.speed.min_tokens_per_second
    detail = f"{rate:.0f} tokens/s" if rate >= 10 else f"{rate:.1f} tokens/s"
    if seen.speed.first_token_s is not None:
        detail += f", first after {1000 * seen.speed.first_token_s:.0f} ms"
    if rate < wanted:
        return Check(Outcome.FAIL, f"{detail}, expected at least {wanted:g} tokens/s", "slow")
    return Check(Outcome.PASS, detail, "ok")


def _speed_record(seen: Observation) -> dict[str, Any]:
    facts = seen.speed
    record = {
        "load_seconds": seen.load_s,
        "ttft_ms": facts and facts.first_token_s and 1000 * facts.first_token_s,
        "decode_tokens_per_second": facts and facts.decode_per_s,
        "prefill_tokens_per_second": facts and facts.prefill_per_s,
        "prompt_tokens": facts and facts.prompt_tokens,
        "rss_bytes": seen.rss_bytes,
    }
    rounded = {k: round(v, 2) if isinstance(v, float) else v for k, v in record.items()}
    return {name: value for name, value in rounded.items() if value is not None}
