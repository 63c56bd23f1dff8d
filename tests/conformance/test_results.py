"""The table of a run, and the page it is written into."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conformance.results import (
    BEGIN,
    END,
    Check,
    SuiteResult,
    read_checks,
    to_table,
    write_docs,
)

GOOD = SuiteResult("sdk", "1.2", (Check("a", "answers", True), Check("b", "tools", True)), 1.0)
BAD = SuiteResult("cli", "3", (Check("a", "answers", True), Check("b", "answers", False)), 1.0)


def test_a_cell_is_the_worst_of_its_checks() -> None:
    table = to_table([GOOD, BAD])
    assert table.columns == ("client", "version", "answers", "tools", "checks")
    assert table.rows == [
        ("sdk", "1.2", "yes", "yes", "2 of 2"),
        ("cli", "3", "**no**", "–", "1 of 2"),
    ]


def test_a_client_that_could_not_be_tried_has_failed() -> None:
    missing = SuiteResult("gone", "–", (), 0.0, "cannot be installed")
    assert not missing.passed and not BAD.passed and GOOD.passed
    assert not SuiteResult("silent", "1", (), 0.0).passed
    assert to_table([missing]).rows == [("gone", "–", "**no**")]


def test_checks_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "checks.jsonl"
    assert read_checks(file) == ()
    rows = [{"test": "a", "feature": "answers", "passed": False}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_checks(file) == (Check("a", "answers", False),)


def test_only_what_is_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    write_docs(page, [GOOD], "2030-01-02")
    text = page.read_text()
    assert text.startswith(f"above\n{BEGIN}\n") and text.endswith(f"{END}\nbelow\n")
    assert "old" not in text and "2030-01-02" in text and "| sdk" in text
    write_docs(page, [GOOD], "2030-01-02")
    assert page.read_text() == text


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text")
    with pytest.raises(ValueError, match="marks"):
        write_docs(page, [GOOD], "2030-01-02")
    assert page.read_text() == "text"
