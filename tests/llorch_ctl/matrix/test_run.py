"""The runner over scripted pools: each defect fails its own check, and nothing is left running."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llorch_ctl.matrix.happenings import CellFinished, Happening, Note, StageChanged
from llorch_ctl.matrix.plan import CellKey, Filter, make_plan
from llorch_ctl.matrix.reports.report import read_report, reusable
from llorch_ctl.matrix.result import CellResult, Outcome, Status
from llorch_ctl.matrix.run import Ending, MatrixRun
from pool_core.errors import ExitCode, RemoteError, UnknownName
from tests.llorch_ctl.matrix.builders import TOML, make_matrix
from tests.llorch_ctl.matrix.fake_pool import FakePool
from tests.llorch_ctl.matrix.fake_worker import ANSWERS, Behaviour

Watch = Callable[[Happening], None]
FAST = "[speed]\nruns = 1\n[limits]\nparallel = 4"


class Rig:
    """Runs matrices over fake pools, and looks after them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pools: dict[str, FakePool] = {}
        self.happenings: list[Happening] = []

    def add(self, name: str = "local", *args: Any, **options: Any) -> FakePool:
        self.pools[name] = FakePool(name, *args, **options)
        return self.pools[name]

    def make(
        self, extra: str = FAST, chosen: str | None = "model=one", text: str = TOML, **options: Any
    ) -> MatrixRun:
        plan = make_plan(make_matrix(extra, text), list(self.pools), Filter.parse(chosen))
        return MatrixRun(plan, lambda name: self.pools[name].open(), self.folder, **options)

    def run(self, *args: Any, watch: Watch | None = None, **options: Any) -> Ending:
        run = self.make(*args, **options)
        run.check()
        events = run.events()
        while True:
            try:
                happening = next(events)
            except StopIteration as stop:
                ending: Ending = stop.value
                return ending
            self.happenings.append(happening)
            if watch:
                watch(happening)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "report")
    yield rig
    left = {name: list(pool.workers) for name, pool in rig.pools.items() if pool.workers}
    for pool in rig.pools.values():
        pool.close()
    assert left == {}
    assert [t.name for t in threading.enumerate() if t.name.startswith("matrix-")] == []


def cell_of(ending: Ending, backend: str = "rpc", pool: str = "local") -> CellResult:
    return ending.report.results[CellKey("one", backend, pool)]


def failed_checks(cell: CellResult) -> list[str]:
    return [name for name, check in cell.checks.items() if check.outcome is Outcome.FAIL]


def test_a_healthy_pool_passes_every_check(rig: Rig) -> None:
    pool = rig.add()
    ending = rig.run()
    assert ending.exit_code is ExitCode.OK
    for backend in ("cpu", "rpc"):
        cell = cell_of(ending, backend)
        assert cell.status is Status.PASSED, cell
        assert failed_checks(cell) == []
    checks = cell_of(ending).checks
    assert checks["parity"].outcome is Outcome.PASS
    assert checks["answers"].brief == "2/2"
    assert "exactly" in checks["batched"].detail
    speed = cell_of(ending).speed
    assert speed["load_seconds"] == 0.25 and speed["rss_bytes"] == 12_000_000
    assert speed["prefill_tokens_per_second"] == 2000.0
    assert speed["decode_tokens_per_second"] == 1000.0
    assert len(pool.stopped) == 2
    assert {path.name for path in ending.files} == {
        "report.json",
        "junit.xml",
        "MODEL_SUPPORT.md",
        "report.html",
    }
    assert "secret-token" not in (rig.folder / "report.json").read_text()


@pytest.mark.parametrize(
    ("defect", "check"),
    [
        (Behaviour(shift=0.3), "parity"),
        (Behaviour(is_noisy=True), "reproducible"),
        (Behaviour(hates_company=True), "batched"),
        (Behaviour(hates_company=True, is_never_reproducible=True), "reproducible"),
        (Behaviour(token_s=0.02), "speed"),
        (Behaviour(layers=(3, 4)), "load"),
        (Behaviour(refuses="capital"), "answers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_defect_fails_exactly_its_check(rig: Rig, defect: Behaviour, check: str) -> None:
    rig.add(behaviours={"one/rpc": defect})
    ending = rig.run("[speed]\nruns = 1\nmin_tokens_per_second = 100\n[limits]\nparallel = 4")
    assert cell_of(ending, "cpu").status is Status.PASSED
    cell = cell_of(ending)
    assert (cell.status, failed_checks(cell)) == (Status.FAILED, [check]), cell.checks
    assert cell.reason.startswith(f"{check}: ") and cell.remedy
    assert ending.exit_code is ExitCode.CELLS_FAILED


def test_an_answer_that_is_wrong_everywhere_fails_only_the_answers(rig: Rig) -> None:
    wrong = Behaviour(answers=ANSWERS | {"What is 17 + 25?": ["\n", "43"]})
    rig.add(behaviours={"one/cpu": wrong, "one/rpc": wrong})
    ending = rig.run()
    for backend in ("cpu", "rpc"):
        assert failed_checks(cell_of(ending, backend)) == ["answers"]
    assert 'sum: expected "42" in it, got "43"' in cell_of(ending).reason


def test_the_first_divergence_is_shown(rig: Rig) -> None:
    other = Behaviour(answers=ANSWERS | {"What is 17 + 25?": ["\n", "42", "!"]})
    rig.add(behaviours={"one/rpc": other})
    cell = cell_of(rig.run())
    assert failed_checks(cell) == ["parity"]
    assert 'differs from cpu at token 2: "!" at -0.0100, expected the end after "42"' in (
        cell.reason
    )
    assert cell.checks["parity"].facts["divergences"][0]["case"] == "sum"


def test_a_worker_that_dies_is_an_error_with_the_pool_s_reason(rig: Rig) -> None:
    pool = rig.add(behaviours={"one/cpu": Behaviour(dies_at_request=3)})
    ending = rig.run()
    cell = cell_of(ending, "cpu")
    assert cell.status is Status.ERROR
    assert cell.reason == "the worker was lost: killed by signal 9"
    assert cell.checks["load"].outcome is Outcome.PASS
    other = cell_of(ending)
    assert other.checks["parity"].detail == "no traces of one/cpu/local"
    assert other.status is Status.PASSED
    assert len(pool.stopped) == 2


def test_a_spawn_that_fails_says_what_the_pool_said(rig: Rig) -> None:
    refused = RemoteError("E_SPAWN", "3.1 GB needed, 2.0 GB free", "use a smaller --ctx")
    rig.add(behaviours={"one/rpc": refused})
    cell = cell_of(rig.run())
    assert (cell.status, cell.reason) == (Status.ERROR, "3.1 GB needed, 2.0 GB free")
    assert cell.remedy == "use a smaller --ctx"
    assert failed_checks(cell) == ["load"]


def test_a_spawn_that_hangs_is_given_up(rig: Rig) -> None:
    rig.add().spawn_hold = threading.Event()
    ending = rig.run("[limits]\nload_timeout = 0.1", chosen="one/cpu/*")
    assert cell_of(ending, "cpu").reason == "not done within 0.1 s"


def test_pools_run_side_by_side_and_are_compared_with_the_first(rig: Rig) -> None:
    hold = threading.Event()
    rig.add("mac", {"one/cpu": Behaviour(hold=hold), "one/rpc": Behaviour()})
    rig.add("box", {"one/cpu": Behaviour(shift=0.2), "one/rpc": Behaviour(shift=0.2)})

    def release(happening: Happening) -> None:
        match happening:
            case StageChanged(cell=CellKey(pool="box"), stage="waiting for the baseline"):
                hold.set()

    ending = rig.run(watch=release)
    box = cell_of(ending, "cpu", "box")
    assert failed_checks(box) == ["parity"] and "cpu on mac" in box.reason
    assert cell_of(ending, "cpu", "mac").checks["parity"].outcome is Outcome.SKIP
    assert cell_of(ending, "rpc", "mac").status is Status.PASSED
    divergence = cell_of(ending, "rpc", "box").checks["parity"].facts["divergences"][0]
    assert divergence["baseline"] == "one/cpu/mac"


def test_a_pool_that_is_out_of_reach_leaves_the_others_alone(rig: Rig) -> None:
    rig.add("mac", is_reachable=False)
    rig.add("box")
    ending = rig.run()
    assert ending.exit_code is ExitCode.UNREACHABLE
    lost = cell_of(ending, "cpu", "mac")
    assert (lost.status, lost.reason) == (Status.ERROR, "mac: no route to host")
    assert cell_of(ending, "cpu", "box").status is Status.PASSED
    assert not any("spawn" in call for call in rig.pools["mac"].calls)


def test_a_connection_that_breaks_is_opened_again_for_the_next_cell(rig: Rig) -> None:
    rig.add(lost_after=4)  # models, backends, status, then the first spawn
    ending = rig.run()
    assert cell_of(ending, "cpu").reason == "local: nothing heard for 30 s"
    assert cell_of(ending, "rpc").status is Status.PASSED


def test_a_backend_that_only_other_machines_have_is_skipped(rig: Rig) -> None:
    rig.add("mac", absent=["cuda"])
    rig.add("box", absent=["metal"])
    text = TOML.replace('["cpu", "rpc"]', '["cpu", "cuda"]')
    ending = rig.run(text=text)
    cell = cell_of(ending, "cuda", "mac")
    assert (cell.status, cell.reason) == (Status.SKIPPED, "no cuda on mac: no cuda device")
    assert ending.exit_code is ExitCode.OK


def test_a_backend_that_no_machine_has_is_an_error(rig: Rig) -> None:
    rig.add(absent=["cuda"])
    ending = rig.run(text=TOML.replace('["cpu", "rpc"]', '["cpu", "cuda"]'))
    assert cell_of(ending, "cuda").status is Status.ERROR
    assert ending.exit_code is ExitCode.CELLS_FAILED


def test_a_missing_model_is_downloaded_once(rig: Rig) -> None:
    pool = rig.add(missing=["one"])
    assert rig.run().exit_code is ExitCode.OK
    assert [call for call in pool.calls if "download" in call] == [["models", "download", "one"]]
    assert any(h.text == "downloading 50 %" for h in rig.happenings if isinstance(h, StageChanged))


@pytest.mark.parametrize(
    ("old", "new", "near"), [('"one"', '"onne"', "one"), ('"rpc"', '"rcp"', "rpc")]
)
def test_an_unknown_name_is_refused_before_anything_starts(
    rig: Rig, old: str, new: str, near: str
) -> None:
    pool = rig.add()
    with pytest.raises(UnknownName, match=f"did you mean.*{near}"):
        rig.run(chosen=None, text=TOML.replace(old, new))
    assert not any("spawn" in call for call in pool.calls)
    assert not rig.folder.exists()


def test_fail_fast_stops_at_the_first_cell_that_does_not_pass(rig: Rig) -> None:
    rig.add(behaviours={"one/cpu": Behaviour(is_noisy=True)})
    ending = rig.run(chosen=None, fail_fast=True)
    statuses = [cell.status for cell in ending.report.cells]
    assert statuses[0] is Status.FAILED and statuses[-1] is Status.CANCELLED
    assert ending.exit_code is ExitCode.CELLS_FAILED


@pytest.mark.parametrize("when", ["loading", "answering"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_the_worker_and_keeps_what_is_known(
    rig: Rig, when: str, number: signal.Signals
) -> None:
    hold = threading.Event()
    pool = rig.add(behaviours={"one/rpc": Behaviour(hold=hold)})
    former = signal.getsignal(number)
    is_sent = False

    def interrupt(happening: Happening) -> None:
        nonlocal is_sent
        match happening:
            case StageChanged(cell=CellKey(backend="rpc"), stage="loading", total=total) if total:
                if when == "loading":
                    pool.spawn_hold = threading.Event()
                    os.kill(os.getpid(), number)
            case StageChanged(cell=CellKey(backend="rpc"), stage="answers") if not is_sent:
                is_sent = True
                os.kill(os.getpid(), number)
                os.kill(os.getpid(), number)  # an impatient operator changes nothing

    if when == "loading":
        pool.behaviours["one/rpc"] = Behaviour()
    ending = rig.run(watch=interrupt)
    hold.set()
    assert ending.exit_code is ExitCode.CANCELLED
    assert cell_of(ending, "cpu").status is Status.PASSED
    assert cell_of(ending).status is Status.CANCELLED
    assert signal.getsignal(number) is former
    assert [h.text for h in rig.happenings if isinstance(h, Note)] == ["stopping the workers"]
    record = json.loads((rig.folder / "report.json").read_text())
    assert record["totals"]["cancelled"] == 1 and record["finished"]


def test_leaving_the_run_early_stops_its_workers(rig: Rig) -> None:
    rig.add()
    run = rig.make()
    run.check()
    events = run.events()
    for happening in events:
        if isinstance(happening, StageChanged) and happening.stage == "answers":
            break
    events.close()
    assert read_report(rig.folder / "report.json").finished
    assert (rig.folder / "junit.xml").exists()


def test_a_resumed_run_repeats_only_what_did_not_pass(rig: Rig) -> None:
    pool = rig.add(behaviours={"one/rpc": Behaviour(shift=0.3)})
    assert rig.run().exit_code is ExitCode.CELLS_FAILED
    pool.behaviours.clear()
    pool.calls.clear()
    plan = rig.make().plan
    earlier = reusable(read_report(rig.folder / "report.json"), plan)
    ending = rig.run(earlier=earlier)
    assert ending.exit_code is ExitCode.OK
    assert [call[2] for call in pool.calls if "spawn" in call] == ["rpc"]
    assert cell_of(ending).checks["parity"].outcome is Outcome.PASS
    assert [h.is_earlier for h in rig.happenings if isinstance(h, CellFinished)][-2:] == [
        True,
        False,
    ]


def test_a_cell_whose_baseline_was_lost_is_compared_when_resumed(rig: Rig) -> None:
    pool = rig.add(behaviours={"one/cpu": Behaviour(dies_at_request=3)})
    assert cell_of(rig.run()).checks["parity"].detail == "no traces of one/cpu/local"
    pool.behaviours.clear()
    earlier = reusable(read_report(rig.folder / "report.json"), rig.make().plan)
    assert cell_of(rig.run(earlier=earlier)).checks["parity"].outcome is Outcome.PASS


def test_a_cell_without_its_baseline_in_the_run_says_so(rig: Rig) -> None:
    rig.add()
    cell = cell_of(rig.run(chosen="one/rpc/*"))
    assert cell.status is Status.PASSED
    assert cell.checks["parity"].detail == "its baseline is not in this run"
    earlier = reusable(read_report(rig.folder / "report.json"), rig.make().plan)
    assert earlier == {}, "the whole plan has the baseline"


def test_a_changed_matrix_resumes_nothing(rig: Rig) -> None:
    rig.add()
    rig.run()
    report = read_report(rig.folder / "report.json")
    assert len(reusable(report, rig.make().plan)) == 2
    assert reusable(report, rig.make("[parity]\ntolerance = 0.1").plan) == {}


def test_the_small_set_of_cases_is_repeated_until_the_worker_has_a_crowd(rig: Rig) -> None:
    pool = rig.add()
    bodies: list[dict[str, Any]] = []

    def collect(happening: Happening) -> None:
        for worker in pool.workers.values():
            bodies[:] = worker.bodies

    rig.run(
        "[limits]\nparallel = 6\nruns = 2\n[speed]\nenabled = false", "one/cpu/*", watch=collect
    )
    assert [body["reproducible"] for body in bodies[:2]] == [True, True]
    crowd = [body["reproducible"] for body in bodies[2:]]
    assert (crowd.count(True), crowd.count(False)) == (2, 6)


def test_chat_cases_are_judged_like_raw_ones(rig: Rig) -> None:
    rig.add(behaviours={"one/rpc": Behaviour(shift=0.3)})
    ending = rig.run(text=TOML.replace('name = "sum"', 'name = "sum"\nmode = "chat"'))
    assert cell_of(ending, "cpu").status is Status.PASSED
    assert failed_checks(cell_of(ending)) == ["parity"]
    cases = {d["case"] for d in cell_of(ending).checks["parity"].facts["divergences"]}
    assert cases == {"capital", "sum"}
