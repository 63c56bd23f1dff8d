"""The self-test on engines that work, and on some that were broken on purpose."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from pool_core.errors import LlorchError
from tests.fakes.hashing_runner import HashingRunner
from worker.engine.async_engine import AsyncEngine
from worker.engine.cache.archive import Archive
from worker.engine.errors import EngineStopped
from worker.self_test.result import Check, End, Progress, Report, Verdict, to_dict
from worker.self_test.run import SelfTest

CIRCUMSTANCES = ["alone", "together", "with prefill", "warm", "restored from RAM"]


def run(runner: HashingRunner, *, with_archive: bool = True) -> list[Report]:
    async def work() -> list[Report]:
        archive = Archive(ram_bytes=64 << 20) if with_archive else None
        engine = AsyncEngine(runner, archive=archive)
        engine.start()
        try:
            return [report async for report in SelfTest(engine, runner.vocab, runner.memory).run()]
        finally:
            await engine.stop(0)

    return asyncio.run(work())


def checks(reports: list[Report]) -> dict[tuple[str, str], Check]:
    return {(one.name, one.kind): one for one in reports if isinstance(one, Check)}


def failures(reports: list[Report]) -> dict[tuple[str, str], str]:
    found = checks(reports).items()
    return {key: check.detail for key, check in found if check.verdict is Verdict.FAILED}


def test_a_sound_engine_passes_everything_and_says_what_was_reused() -> None:
    reports = run(HashingRunner())
    assert failures(reports) == {}
    found = checks(reports)
    assert list(dict.fromkeys(name for name, _ in found)) == CIRCUMSTANCES
    assert all(check.verdict is Verdict.PASSED for check in found.values())
    assert all(check.max_delta == 0.0 for check in found.values())
    for kind in ("reproducible", "ordinary"):
        assert found["alone", kind].cached_tokens == 0
        assert found["warm", kind].cached_tokens > 500
        assert found["restored from RAM", kind].restored_tokens > 500
    end = reports[-1]
    assert isinstance(end, End) and end.ok


def test_a_second_test_of_the_same_worker_asks_other_prompts() -> None:
    async def work() -> list[Report]:
        runner = HashingRunner()
        engine = AsyncEngine(runner, archive=Archive(ram_bytes=64 << 20))
        engine.start()
        reports: list[Report] = []
        for seed in (1, 2):
            test = SelfTest(engine, runner.vocab, runner.memory, seed=seed)
            reports = [report async for report in test.run()]
        await engine.stop(0)
        return reports

    reports = asyncio.run(work())
    assert failures(reports) == {}
    assert checks(reports)["together", "ordinary"].cached_tokens < 8


def test_progress_reaches_its_total() -> None:
    steps = [report for report in run(HashingRunner()) if isinstance(report, Progress)]
    assert [step.done for step in steps] == list(range(1, steps[0].total + 1))


def test_logits_that_depend_on_who_shares_the_batch_are_caught() -> None:
    reports = run(HashingRunner(leak=2.0))
    found = failures(reports)
    assert ("together", "ordinary") in found and ("with prefill", "ordinary") in found
    assert ("alone", "ordinary") not in found
    assert not any(kind == "reproducible" for _, kind in found)
    assert "more than 0.5 apart" in found["together", "ordinary"]
    end = reports[-1]
    assert isinstance(end, End) and not end.ok


def test_rounding_passes_for_ordinary_requests_and_not_for_reproducible_ones() -> None:
    reports = run(HashingRunner(jitter=1e-7))
    found = failures(reports)
    assert found and all(kind == "reproducible" for _, kind in found)
    assert "must be equal" in found["together", "reproducible"]
    assert 0 < (checks(reports)["together", "ordinary"].max_delta or 0) < 1e-2


def test_a_restore_that_silently_drops_tokens_is_caught() -> None:
    found = failures(run(HashingRunner(lost_cells=3)))
    restored = {("restored from RAM", "reproducible"), ("restored from RAM", "ordinary")}
    # Reproducible requests build upon restored blocks also where nobody spilled anything.
    assert restored <= found.keys() <= restored | {("warm", "reproducible")}
    line = found["restored from RAM", "ordinary"]
    assert line.startswith("prompt 11 of 548 tokens: token 0 ") and "\n" not in line


def test_a_restore_that_restores_nothing_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Archive, "find", lambda *args, **kwargs: None)
    found = failures(run(HashingRunner()))
    assert found["restored from RAM", "ordinary"].startswith("nothing was restored")


def test_log_probabilities_that_are_not_numbers_are_caught() -> None:
    found = failures(run(HashingRunner(nan_after=40)))
    assert any("nan" in line for line in found.values())


def test_a_request_that_fails_is_a_failure_in_its_own_words() -> None:
    runner = HashingRunner()
    runner.isolate_error = RuntimeError("boom")
    assert any("boom" in line for line in failures(run(runner)).values())


def test_without_an_archive_restores_are_skipped() -> None:
    reports = run(HashingRunner(), with_archive=False)
    assert failures(reports) == {}
    assert checks(reports)["restored", "ordinary"].verdict is Verdict.SKIPPED


def test_a_small_context_gets_shorter_prompts_and_a_tiny_one_is_refused() -> None:
    assert failures(run(HashingRunner(num_cells=2 * 256))) == {}
    runner = HashingRunner(num_cells=256)
    runner.info = runner.info.__class__("fake", context_length=40)
    with pytest.raises(LlorchError, match="too small for a self-test"):
        run(runner)


def test_an_engine_that_stops_ends_the_test() -> None:
    async def work() -> None:
        runner = HashingRunner()
        engine = AsyncEngine(runner)
        engine.start()
        reports = SelfTest(engine, runner.vocab, runner.memory).run()
        await anext(reports)
        await engine.stop(0)
        with pytest.raises(EngineStopped):
            async for _ in reports:
                pass

    asyncio.run(work())


def test_closing_it_cancels_what_is_under_way() -> None:
    async def work() -> None:
        runner = HashingRunner()
        engine = AsyncEngine(runner)
        engine.start()
        async with aclosing(SelfTest(engine, runner.vocab, runner.memory).run()) as reports:
            async for report in reports:
                if isinstance(report, Check) and report.name == "alone":
                    break
        await asyncio.wait_for(engine.stop(30), 10)
        assert engine.stats().running == engine.stats().waiting == 0

    asyncio.run(work())


def test_reports_are_json_values() -> None:
    assert to_dict(Progress(1, 2)) == {"type": "progress", "done": 1, "total": 2}
    check = Check("alone", "ordinary", Verdict.FAILED, max_delta=float("inf"))
    assert to_dict(check)["max_delta"] == 9999.0 and to_dict(check)["verdict"] == "failed"
