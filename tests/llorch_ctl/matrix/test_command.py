"""`llorch matrix` on the command line: usage, plans and earlier reports."""

from pathlib import Path

import pytest

from llorch_ctl.matrix.reports.writer import write_all
from pool_core.home import Home
from tests.llorch_ctl.cli import Llorch
from tests.llorch_ctl.matrix.builders import TOML, make_observation, make_report


@pytest.fixture
def llorch(home: Home) -> Llorch:
    return Llorch(home)


def test_show_prints_the_eight_cells_of_the_reference_matrix(llorch: Llorch) -> None:
    shown = llorch("matrix", "show")
    assert shown.code == 0, shown.err
    assert shown.out.count("ref-llama/cpu/local") == 1 and "capital" in shown.out
    record = llorch("matrix", "show", "--json").data
    assert len(record["cells"]) == 8 and len(record["cases"]) == 6
    assert record["cells"][1]["baselines"] == ["ref-llama/cpu/local"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('models = ["ref-lama"]', 'unknown model "ref-lama"; did you mean ref-llama'),
        ('models = ["ref-llama"]\nbackends = ["cpuu"]', "did you mean cpu"),
        ('models = ["ref-llama"]\npools = ["mac"]', 'unknown pool "mac"'),
        ('models = ["ref-llama"]\nbackend = ["cpu"]', 'did you mean "backends"?'),
    ],
)
def test_a_wrong_matrix_exits_2_and_starts_nothing(
    llorch: Llorch, tmp_path: Path, change: str, said: str
) -> None:
    cases = TOML.partition("\n[[cases]]")
    head = change if "backends" in change else f'backends = ["cpu"]\n{change}'
    file = tmp_path / "my.toml"
    file.write_text(head + cases[1] + cases[2])
    ran = llorch("matrix", "run", str(file), "--output", str(tmp_path / "out"))
    assert (ran.code, ran.out) == (2, ""), ran
    assert said in ran.err and len(ran.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_options_that_make_no_sense_exit_2(llorch: Llorch, tmp_path: Path) -> None:
    assert "add --output DIR" in llorch("matrix", "run", "--resume").err
    ran = llorch("matrix", "run", "--filter", "model=none", "--output", str(tmp_path))
    assert (ran.code, "leaves no cell" in ran.err) == (2, True)
    ran = llorch("matrix", "run", "none.toml")
    assert (ran.code, "no matrix file none.toml" in ran.err) == (2, True)
    (tmp_path / "report.json").write_text("{}")
    ran = llorch("matrix", "run", "--resume", "--output", str(tmp_path))
    assert (ran.code, "not a matrix report" in ran.err) == (2, True)


def test_report_prints_an_earlier_table_again(llorch: Llorch, tmp_path: Path) -> None:
    write_all(tmp_path, make_report(make_observation()))
    shown = llorch("matrix", "report", str(tmp_path))
    assert (shown.code, "1 of 1 cells passed" in shown.out) == (0, True)
    assert llorch("matrix", "report", str(tmp_path), "--json").data["totals"]["passed"] == 1
    assert llorch("matrix", "report", str(tmp_path / "none")).code == 2
