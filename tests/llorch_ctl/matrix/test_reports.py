import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from llorch_ctl.matrix.observation import Fault
from llorch_ctl.matrix.plan import CellKey
from llorch_ctl.matrix.reports.html import to_html
from llorch_ctl.matrix.reports.junit import to_junit
from llorch_ctl.matrix.reports.markdown import escape, to_markdown
from llorch_ctl.matrix.reports.report import Report, read_report
from llorch_ctl.matrix.reports.writer import write_all
from llorch_ctl.matrix.trace import Answer
from pool_core.errors import ConfigError
from tests.llorch_ctl.matrix.builders import (
    CPU,
    RPC,
    make_answer,
    make_observation,
    make_report,
)

SCHEMA = Draft202012Validator(
    json.loads(
        (Path(__file__).parents[3] / ".specs" / "schemas" / "report.schema.json").read_text()
    )
)
ANY_TEXT = st.text(st.characters(), max_size=30)  # lone surrogates and control characters too


def mixed_report() -> Report:
    """One cell of every kind."""
    wrong = [make_answer("\n", "43", logprob=-0.5)] * 3
    good = make_observation()
    return make_report(
        good,
        make_observation(RPC, runs={**good.runs, "sum": wrong}),
        make_observation(
            CellKey("two", "cpu", "local"), is_loaded=False, error=Fault("no memory", "use less")
        ),
        make_observation(CellKey("two", "rpc", "local"), is_cancelled=True),
        make_observation(
            CellKey("two", "cuda", "local"), is_loaded=False, is_absent=True, error=Fault("no cuda")
        ),
        make_observation(CellKey("two", "metal", "local"), error=Fault("the worker was lost: 9")),
    )


def report_saying(text: str) -> Report:
    answer = Answer(text=text, tokens=make_answer(text).tokens, body=b"x")
    seen = make_observation(
        CellKey(text, "cpu", "local"), runs={"capital": [answer] * 3}, machine={"name": text}
    )
    return make_report(seen, make_observation(CellKey("b", text, "p"), error=Fault(text, text)))


def test_a_report_validates_and_reads_back_the_same(tmp_path: Path) -> None:
    report = mixed_report()
    files = write_all(tmp_path, report)
    record = json.loads(files[0].read_text())
    SCHEMA.validate(record)
    assert {cell["status"] for cell in record["cells"]} == {
        "passed",
        "failed",
        "error",
        "cancelled",
        "skipped",
    }
    assert read_report(files[0]).to_dict() == report.to_dict()
    assert all(path.stat().st_size > 100 for path in files)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=ANY_TEXT)
def test_every_format_survives_any_text(text: str, tmp_path: Path) -> None:
    report = report_saying(text)
    files = write_all(tmp_path, report)
    SCHEMA.validate(json.loads(files[0].read_text()))
    root = ElementTree.parse(files[1]).getroot()
    assert len(root.findall("testsuite")) == 2
    rows = [line for line in to_markdown(report).split("\n") if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {4, 7, 8}


def test_junit_has_a_suite_for_each_cell_and_a_case_for_each_check() -> None:
    root = ElementTree.fromstring(to_junit(mixed_report()))
    suites = {suite.get("name"): suite for suite in root}
    passed, failed = suites[str(CPU)], suites[str(RPC)]
    assert [case.get("name") for case in passed][1:] == [
        "load",
        "answers",
        "reproducible",
        "parity",
        "batched",
        "speed",
    ]
    assert (passed.get("failures"), passed.get("skipped"), failed.get("failures")) == (
        "0",
        "1",
        "2",
    )
    assert suites["two/cpu/local"].find("testcase/error") is not None
    lost = suites["two/metal/local"].findall("testcase")
    assert [case.get("name") for case in lost] == ["load", "worker"]
    assert root.get("tests") == str(len(root.findall("testsuite/testcase")))
    assert (root.get("errors"), root.get("failures")) == ("2", "2")


def test_markdown_tells_support_failures_and_machines() -> None:
    text = to_markdown(mixed_report())
    assert "1 of 6 cells passed" in text
    assert "| one | ✅ passed, 2/2 answers, 812 tok/s | ❌ failed, 1/2 answers, 812 tok/s |" in text
    assert "- **two/cpu/local** error: no memory. Next: use less." in text
    assert "## Machines" in text and "0.3.36" in text


def test_markdown_escapes_what_would_break_a_row() -> None:
    assert escape("a|b\n<c>*") == r"a\|b \<c\>\*"


def test_html_is_one_file_that_runs_nothing_and_fetches_nothing() -> None:
    page = to_html(report_saying("<script>alert(1)</script>"))
    assert "<script" not in page and "&lt;script&gt;" in page
    assert not re.search(r'(src|href)="|url\(|@import', page)
    page = to_html(mixed_report())
    assert "1 of 6 cells passed" in page and "prefers-color-scheme: dark" in page


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "cells": [{"model": "x"}]}', "null"]
)
def test_what_is_no_report_is_refused_by_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"report.json: not a matrix report"):
        read_report(path)
    with pytest.raises(ConfigError, match="no report at"):
        read_report(tmp_path / "none.json")


def rendered(report: Report, width: int) -> list[str]:
    from rich.console import Console

    from llorch_ctl.matrix.views import report_view

    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False, emoji=False)
    for renderable in report_view(report):
        console.print(renderable)
    return out.getvalue().splitlines()


def test_the_table_fits_the_width_and_keeps_what_matters() -> None:
    report = mixed_report()
    wide, narrow = rendered(report, 140), rendered(report, 80)
    assert (
        wide[0].split()
        == (
            "MODEL BACKEND POOL LOAD ANSWERS REPRO PARITY BATCH TTFT TOK/S PREFILL/S MEMORY VERDICT"
        ).split()
    )
    assert {"MODEL", "BACKEND", "ANSWERS", "PARITY", "TOK/S", "VERDICT"} <= set(narrow[0].split())
    assert all(len(line) <= 80 for line in narrow[: len(report.cells) + 1])
    assert "two/cpu/local error: no memory; use less" in " ".join(wide)
    assert wide[-1] == "1 of 6 cells passed, 1 failed, 2 error, 1 cancelled, 1 skipped"


def test_remote_text_cannot_steer_the_terminal() -> None:
    lines = rendered(report_saying("\x1b[2J[red]x"), 140)
    assert "\x1b" not in "".join(lines) and "[red]x" in "".join(lines)
