"""Tables for people: at 80 and 140 columns, piped, with and without colour."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from rich.console import Console

from pool_ctl.views import VIEWS, Column, TableView
from pool_ctl.views.cells import age, tokens

WORKER = {
    "id": "qwen2.5-0.5b-cpu-3f2a",
    "model": "qwen2.5-0.5b",
    "backend": "cpu",
    "status": "ready",
    "progress": 1.0,
    "url": "http://127.0.0.1:40123",
    "layers_on_device": 25,
    "layers_total": 25,
    "rss_bytes": 812_000_000,
    "created_at": "2026-01-01T00:00:00+00:00",
    "reason": "",
}
FAILED = WORKER | {
    "id": "phi4-cpu-0001",
    "status": "failed",
    "url": "",
    "layers_total": 0,
    "rss_bytes": 0,
    "reason": "process is gone (killed or crashed); last log line: ready: phi4 on CPU",
}


def render(view: Any, data: dict[str, Any], width: int, *, terminal: bool = True) -> list[str]:
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=terminal, color_system=None, highlight=False
    )
    for renderable in view(data):
        console.print(renderable)
    return out.getvalue().splitlines()


def test_the_worker_table_keeps_what_matters_at_80_columns() -> None:
    lines = render(VIEWS["worker list"], {"workers": [WORKER, FAILED]}, 80)
    assert all(len(line) <= 80 for line in lines)
    assert "qwen2.5-0.5b-cpu-3f2a" in lines[1] and "http://127.0.0.1:40123" in lines[1]
    assert "ready" in lines[1] and "failed" in lines[2]
    assert "MODEL" not in lines[0]


def test_the_worker_table_says_everything_at_140_columns() -> None:
    lines = render(VIEWS["worker list"], {"workers": [WORKER, FAILED]}, 140)
    titles = ["WORKER", "MODEL", "BACKEND", "STATUS", "URL", "LAYERS", "MEMORY", "AGE"]
    assert lines[0].split() == titles
    assert "25/25" in lines[1] and "812.0 MB" in lines[1]


@pytest.mark.parametrize("width", [80, 140])
def test_why_a_worker_failed_is_said_at_any_width(width: int) -> None:
    lines = render(VIEWS["worker list"], {"workers": [WORKER, FAILED]}, width)
    assert "phi4-cpu-0001: process is gone (killed or crashed)" in " ".join(lines)


def test_no_line_ends_in_blanks_and_no_lines_are_drawn() -> None:
    for line in render(VIEWS["worker list"], {"workers": [WORKER, FAILED]}, 120):
        assert line == line.rstrip()
        assert not set(line) & set("│─┃━┏┓|")


def test_a_loading_worker_shows_how_far_it_is() -> None:
    loading = WORKER | {"status": "starting", "progress": 0.42}
    assert "starting 42 %" in render(VIEWS["worker list"], {"workers": [loading]}, 140)[1]


def test_an_empty_table_names_the_next_command() -> None:
    (line,) = render(VIEWS["worker list"], {"workers": []}, 80)
    assert "llorch-pool worker spawn" in line


def test_a_partial_download_shows_its_share() -> None:
    row = {
        "id": "demo",
        "name": "",
        "quantization": "Q4_K_M",
        "size": 200,
        "bytes_here": 68,
        "state": "partial",
        "context_length": 32768,
        "roles": [],
        "repo": "a/b",
    }
    assert "partial 34 %" in render(VIEWS["models list"], {"models": [row]}, 80)[1]


def test_columns_go_by_their_order_and_the_last_is_never_dropped() -> None:
    columns = (
        Column("A", lambda row: "a" * 30),
        Column("B", lambda row: "b" * 30, drop=1),
        Column("C", lambda row: "c" * 30, drop=2),
    )
    view = TableView("rows", columns)
    assert render(view, {"rows": [{}]}, 100)[0].split() == ["A", "B", "C"]
    assert render(view, {"rows": [{}]}, 70)[0].split() == ["A", "B"]
    assert render(view, {"rows": [{}]}, 40)[0].split() == ["A"]
    assert render(view, {"rows": [{}]}, 10)[0].split() == ["A"]


def test_long_reasons_fold_instead_of_being_cut() -> None:
    columns = (
        Column("NAME", lambda row: "cuda"),
        Column("REASON", lambda row: "word " * 30, fold=True),
    )
    lines = render(TableView("rows", columns), {"rows": [{}]}, 60)
    assert sum(line.count("word") for line in lines) == 30


def test_text_from_elsewhere_cannot_command_the_terminal() -> None:
    evil = WORKER | {"model": "\x1b[2Jx", "id": "[red]not markup[/red]"}
    text = "\n".join(render(VIEWS["worker list"], {"workers": [evil]}, 200))
    assert "\x1b" not in text and "[red]not markup[/red]" in text


def test_every_command_with_an_answer_has_a_view() -> None:
    from pool_ctl.app import app

    def paths(app: typer.Typer, prefix: str = "") -> Iterator[str]:
        for command in app.registered_commands:
            yield prefix + (command.name or command.callback.__name__)
        for group in app.registered_groups:
            yield from paths(group.typer_instance, f"{prefix}{group.name} ")

    silent = {"stdio"}
    assert set(paths(app)) - silent == VIEWS.keys()


def test_ages_and_contexts_are_short() -> None:
    assert age("2999-01-01T00:00:00+00:00") == "0s"
    assert age("2020-01-01T00:00:00+00:00").endswith("d")
    assert (tokens(32768), tokens(1500), tokens(None)) == ("32k", "1500", "-")


def test_a_check_shows_what_differs_first_and_reads_well_at_80_columns() -> None:
    row = {
        "name": "restored from disk",
        "kind": "reproducible",
        "verdict": "passed",
        "requests": 4,
        "tokens": 64,
        "max_delta": 0.0,
        "prompt_tokens": 1082,
        "cached_tokens": 1024,
        "detail": "",
    }
    found = "prompt 2 of 24 tokens: token 3 is 97 'a' at -3.5, alone 98 'b' at -0.1, no near tie"
    bad = row | {"kind": "ordinary", "verdict": "failed", "max_delta": 9999.0, "detail": found}
    skipped = row | {"verdict": "skipped", "max_delta": None, "prompt_tokens": 0}
    data = {"id": "w", "ok": False, "seconds": 2.0, "checks": [row, bad, skipped]}
    lines = render(VIEWS["worker check"], data, 80)
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].split()[-3:] == ["64", "0", "1024/1082"] and "failed" in lines[2]
    assert f"restored from disk, ordinary: {found}" in " ".join(" ".join(lines).split())
    assert lines[-1] == "1 of 3 checks failed"
    assert "do not depend" in render(VIEWS["worker check"], data | {"checks": [row]}, 80)[-1]
