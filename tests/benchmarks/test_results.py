"""Tables, and the file they are kept in."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.__main__ import command_line, main
from benchmarks.machine import Conditions, Watch
from benchmarks.results import append, section
from benchmarks.table import Table

CONDITIONS = Conditions("2 cores", "llorch 1", (0.5, 1.5), 0.03)


def make_table() -> Table:
    table = Table("Speed, small", ("clients", "ratio"), notes=["Medians of 5."])
    table.add("1", "1.02")
    table.add("16", "0.97 (0.90–1.00)")
    return table


def test_table_is_markdown_with_columns_in_line() -> None:
    assert make_table().to_markdown() == (
        "| clients | ratio            |\n"
        "| ------- | ---------------- |\n"
        "| 1       | 1.02             |\n"
        "| 16      | 0.97 (0.90–1.00) |\n"
    )


def test_section_says_when_how_and_where() -> None:
    text = section(
        make_table(), "benchmarks/run x", CONDITIONS, datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    )
    assert text.startswith(
        "## Speed, small\n\n2026-01-02 03:04 UTC, `benchmarks/run x`\n\n2 cores;"
    )
    assert "Load 0.5 before and 1.5 after; other work took 3% of the processor." in text
    assert text.endswith("|\n\nMedians of 5.\n")


def test_results_are_added_after_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text("# Results\n\n## Older\n", encoding="utf-8")
    first = append(make_table(), "a", CONDITIONS, path=path)
    second = append(make_table(), "b", CONDITIONS, path=path)
    assert path.read_text(encoding="utf-8") == f"# Results\n\n## Older\n\n{first}\n{second}"


def test_command_line_keeps_no_path_of_the_machine() -> None:
    shown = command_line(["spawn", "--llama-server", "/home/me/llama-server", "--turns", "3"])
    assert shown == "benchmarks/run spawn --llama-server PATH --turns 3"


def test_watch_counts_its_own_work_as_its_own() -> None:
    watch = Watch()
    conditions = watch.conditions("peer 1")
    assert 0 <= conditions.others <= 1
    assert conditions.versions.endswith("peer 1")


def test_unknown_scenario_is_refused_with_a_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["throughputt"]) == 1
    assert "no scenario throughputt; see benchmarks/run --list" in capsys.readouterr().err


def test_list_names_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert "shared-prefix" in capsys.readouterr().out
