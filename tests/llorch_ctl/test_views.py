"""What a person sees of a fleet, at the widths of real terminals."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from llorch_ctl.fleet import Outcome, Phase
from llorch_ctl.inventory import Inventory, Pool
from llorch_ctl.transport import Answer
from llorch_ctl.views import (
    FleetView,
    amount,
    answer_view,
    answers_view,
    neutral,
    pools_view,
    time_left,
)
from pool_core.events import Event, Log, Progress, State, Warning
from pool_core.home import Home
from pool_ctl.views import TableView, TextView
from pool_ctl.views.table import Column

POOLS = [Pool(name, name) for name in ("mac", "workstation", "pi")]
DOWNLOAD = Progress("a-model-with-a-rather-long-name-q4_k_m.gguf", 26.7e6, 62.5e6, "B", 6e6)


def drawn(view: Any, width: int, height: int = 25) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, height=height, force_terminal=True, no_color=True).print(view)
    return [Text.from_ansi(line).plain.rstrip() for line in file.getvalue().splitlines()]


def shown(*news: tuple[Pool, Event | Phase], pools: list[Pool] | None = None) -> FleetView:
    view = FleetView(pools or POOLS)
    for pool, item in news:
        view.show(pool, item)
    return view


@pytest.mark.parametrize("width", [80, 140])
def test_each_pool_has_a_row_that_fits(width: int) -> None:
    mac, workstation, pi = POOLS
    view = shown(
        (mac, Phase.RUNNING),
        (mac, DOWNLOAD),
        (workstation, State("w-1", "starting")),
        (pi, Phase.FAILED),
    )

    rows = drawn(view, width)

    assert [row.split()[0] for row in rows] == ["mac", "workstation", "pi"]
    assert "26.7 MB/62.5 MB 6.0 MB/s" in rows[0] and "a-model" in rows[0]
    assert ("0:05" in rows[0]) == (width == 140)
    assert "w-1: starting" in rows[1]
    assert rows[2].split() == ["pi", "failed"]
    assert all(cell_len(row) <= width - 3 for row in rows)


def test_a_row_shows_the_latest_and_its_end() -> None:
    mac = POOLS[0]
    view = shown((mac, DOWNLOAD), (mac, State("w-1", "ready", "http://127.0.0.1:1")), pools=[mac])
    assert "w-1: ready (http://127.0.0.1:1)" in drawn(view, 80)[0]

    view.show(mac, Phase.OK)
    assert drawn(view, 80)[0].split() == ["mac", "ok"]


def test_more_pools_than_lines_show_those_that_still_work() -> None:
    pools = [Pool(f"p{number:02}", "x") for number in range(50)]
    done = [(pool, Phase.OK) for pool in pools[:40]]
    view = shown(*done, (pools[45], Phase.RUNNING), pools=pools)

    rows = drawn(view, 80, height=12)

    assert len(rows) == 11
    assert rows[0].startswith("p40")
    assert rows[-1] == "… and 40 more pools"


def test_control_characters_and_markup_of_a_pool_are_only_text() -> None:
    mac = POOLS[0]
    view = shown((mac, State("\x1b[31mred", "[bold]x[/bold]\x07")), pools=[mac])
    assert r"\x1b[31mred: [bold]x[/bold]\x07" in drawn(view, 80)[0]

    view.show(mac, Progress("[red]t[/red]\x1b[2J", 1, 0, "\x1bsteps"))
    row = drawn(view, 80)[0]
    assert r"[red]t[/red]\x1b[2J" in row and r"1 \x1bsteps" in row


def test_warnings_stay_on_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    with FleetView(POOLS) as view:
        view.show(POOLS[0], Warning("disk is nearly full"))
        view.show(POOLS[1], Log("tried again"))

    err = capsys.readouterr().err
    assert "[mac] warning: disk is nearly full" in err
    assert "[workstation] tried again" in err


@pytest.mark.parametrize(
    ("progress", "words", "left"),
    [
        (Progress("x", 43.2, 100, "%"), "43%", ""),
        (Progress("x", 7, 8, "cells"), "7/8 cells", ""),
        (Progress("x", 7, 0, "cells"), "7 cells", ""),
        (Progress("x", 1e6, 0, "B"), "1.0 MB", ""),
        (Progress("x", 1e6, 2e9, "B", 1e6), "1.0 MB/2.0 GB 1.0 MB/s", " 33:19"),
        (Progress("x", 2e6, 2e6, "B", 1e6), "2.0 MB/2.0 MB 1.0 MB/s", ""),
    ],
)
def test_amounts(progress: Progress, words: str, left: str) -> None:
    assert (amount(progress), time_left(progress)) == (words, left)


TABLE = TableView(
    "things", (Column("THING", lambda row: str(row["id"])),), "nothing; llorch-pool x"
)
NOTE = TextView(lambda data: [Text(f"next: llorch-pool models download {data['id']}")])


def answered(*answers: dict[str, Any]) -> list[Outcome]:
    return [Outcome(pool, Answer(data)) for pool, data in zip(POOLS, answers, strict=False)]


def lines(renderables: Any) -> list[str]:
    return [line for item in renderables for line in drawn(item, 80)]


def test_rows_of_many_pools_share_a_table() -> None:
    outcomes = answered({"things": [{"id": 1}, {"id": 2}]}, {"things": []}, {"things": [{"id": 3}]})

    table = lines(answers_view(TABLE, outcomes))

    assert [row.split() for row in table] == [
        ["POOL", "THING"],
        ["mac", "1"],
        ["mac", "2"],
        ["pi", "3"],
    ]


def test_no_rows_at_all_say_so_once() -> None:
    outcomes = answered({"things": []}, {"things": []})

    assert lines(answers_view(TABLE, outcomes)) == ["nothing; llorch pool x"]


def test_texts_of_many_pools_have_a_heading_each_and_commands_that_can_be_typed() -> None:
    outcomes = answered({"id": "qwen"}, {"id": "phi"})

    assert lines(answers_view(NOTE, outcomes)) == [
        "mac",
        "next: llorch pool models download --pool mac qwen",
        "",
        "workstation",
        "next: llorch pool models download --pool workstation phi",
    ]


def test_this_machine_answers_as_llorch_pool_does() -> None:
    here = Outcome(Pool("local"), Answer({"id": "qwen"}))

    assert lines(answer_view(NOTE, here)) == ["next: llorch-pool models download qwen"]


def test_neutral_reaches_every_text() -> None:
    data = {"a\x1b": ["\x07", {"b": "\u202e"}], "n": 1, "none": None}

    assert neutral(data) == {r"a\x1b": [r"\x07", {"b": r"\x202e"}], "n": 1, "none": None}


def test_the_inventory_shows_only_columns_that_say_something(home: Home) -> None:
    text = '[pools.mac]\nssh = "mac"\nlabels = ["metal"]\n[pools.lab]\nssh = "lab"\n'
    inventory = Inventory.parse(text, home.pools_file)

    table = lines(pools_view({"pools": inventory.rows()}))

    assert [row.split() for row in table] == [
        ["POOL", "SSH", "LABELS"],
        ["mac", "mac", "metal"],
        ["lab", "lab"],
        ["local", "local"],
    ]
