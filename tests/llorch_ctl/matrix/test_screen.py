import io
import json
import re
import sys

import pytest
from rich.console import Console as RichConsole

from llorch_ctl.matrix.happenings import CellFinished, Happening, Note, StageChanged
from llorch_ctl.matrix.plan import CellKey, Plan, make_plan
from llorch_ctl.matrix.screen import LineScreen, LiveScreen, make_screen
from llorch_ctl.matrix.verdict import judge
from pool_core.console import Console
from tests.llorch_ctl.matrix.builders import CPU, make_matrix, make_observation

PLAN = make_plan(make_matrix(), ["local"])
PASSED = judge(make_observation(), PLAN.matrix, {})
HAPPENINGS: list[Happening] = [
    StageChanged(CPU, "loading", 40, 100),
    StageChanged(CPU, "answers", 1, 2),
    Note("stopping the workers"),
    CellFinished(PASSED),
]


def live_text(plan: Plan, happenings: list[Happening], width: int, height: int = 24) -> list[str]:
    out = io.StringIO()
    terminal = RichConsole(file=out, width=width, height=height, force_terminal=True, no_color=True)
    screen = LiveScreen(plan, terminal)
    for happening in happenings:
        screen.show(happening)
    out.truncate(0)
    out.seek(0)
    terminal.print(screen.render())
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    return [line.rstrip() for line in plain.splitlines()]


def test_json_shows_each_change_as_a_state() -> None:
    out = io.StringIO()
    screen = make_screen(PLAN, Console(json_lines=True, out=out))
    for happening in HAPPENINGS:
        screen.show(happening)
    records = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(r["t"], r.get("state"), r.get("detail")) for r in records] == [
        ("state", "loading", "40 %"),
        ("state", "answers", "1/2"),
        ("log", None, None),
        ("state", "passed", ""),
    ]
    assert records[0]["subject"] == "one/cpu/local"


def test_a_pipe_gets_one_line_for_each_finished_cell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    screen = make_screen(PLAN, Console())
    assert isinstance(screen, LineScreen)
    for happening in HAPPENINGS:
        screen.show(happening)
    assert out.getvalue().splitlines() == [
        "stopping the workers",
        "[1/4] one/cpu/local passed: 2/2 answers, 812 tok/s, 2.0 s",
    ]


def test_a_terminal_shows_every_cell_and_how_far_all_of_them_are() -> None:
    lines = live_text(PLAN, HAPPENINGS[:2], 80)
    assert lines[0] == "one/cpu/local  answers 1/2"
    assert lines[1] == "one/rpc/local  queued"
    assert lines[-1].endswith("0/4 cells")
    lines = live_text(PLAN, HAPPENINGS, 80)
    assert lines[0] == "one/cpu/local  passed: 2/2 answers, 812 tok/s, 2.0 s"
    assert lines[-1].endswith("1/4 cells")


def test_a_long_matrix_shows_what_moves() -> None:
    names = [f"m{number}" for number in range(40)]
    plan = make_plan(make_matrix().model_copy(update={"models": tuple(names)}), ["local"])
    busy = CellKey("m30", "rpc", "local")
    lines = live_text(plan, [StageChanged(busy, "loading")], 80, height=12)
    assert len(lines) <= 12
    assert any(line.split() == ["m30/rpc/local", "loading"] for line in lines)


def test_a_narrow_terminal_cuts_details_and_keeps_names() -> None:
    lines = live_text(PLAN, HAPPENINGS, 30)
    assert lines[0].startswith("one/cpu/local  passed: ")
    assert all(len(line) <= 30 for line in lines)
