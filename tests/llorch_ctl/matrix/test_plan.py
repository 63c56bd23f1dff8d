from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llorch_ctl.matrix.plan import CellKey, Filter, make_plan
from llorch_ctl.matrix.spec import Matrix
from pool_core.errors import UnknownName, UsageError
from tests.llorch_ctl.matrix.builders import make_matrix

NAMES = st.lists(st.text("abc-/*", min_size=1, max_size=4), min_size=1, max_size=4, unique=True)


def matrix_of(models: list[str], backends: list[str]) -> Matrix:
    return make_matrix().model_copy(update={"models": tuple(models), "backends": tuple(backends)})


@given(models=NAMES, backends=NAMES, pools=NAMES)
def test_the_plan_has_each_cell_once_and_baselines_first(
    models: list[str], backends: list[str], pools: list[str]
) -> None:
    plan = make_plan(matrix_of(models, backends), pools)
    wanted = {CellKey(m, b, p) for m in models for b in backends for p in pools}
    assert Counter(plan.cells) == Counter(wanted)
    for pool, lane in plan.lanes.items():
        assert {cell.pool for cell in lane} == {pool}
        for model in models:
            mine = [cell.backend for cell in lane if cell.model == model]
            assert mine == backends
            places = [number for number, cell in enumerate(lane) if cell.model == model]
            assert places == list(range(places[0], places[0] + len(places)))


def test_a_cell_is_compared_with_its_pool_s_first_backend_and_the_first_pool_s() -> None:
    plan = make_plan(make_matrix(), ["mac", "box"])
    assert plan.baselines(CellKey("one", "cpu", "mac")) == []
    assert plan.baselines(CellKey("one", "rpc", "mac")) == [CellKey("one", "cpu", "mac")]
    assert plan.baselines(CellKey("one", "cpu", "box")) == [CellKey("one", "cpu", "mac")]
    assert plan.baselines(CellKey("one", "rpc", "box")) == [
        CellKey("one", "cpu", "box"),
        CellKey("one", "cpu", "mac"),
    ]


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        (None, 4),
        ("*", 4),
        ("one/*", 2),
        ("*/rpc/*", 2),
        ("model=one", 2),
        ("model=one,backend=rpc", 1),
        ("model=one,model=two", 4),
        ("model=t*, pool=l*", 2),
    ],
)
def test_a_filter_chooses_cells(text: str | None, cells: int) -> None:
    assert len(make_plan(make_matrix(), ["local"], Filter.parse(text)).cells) == cells


def test_a_filter_chooses_cases() -> None:
    plan = make_plan(make_matrix(), ["local"], Filter.parse("case=su*"))
    assert [case.name for case in plan.matrix.cases] == ["sum"]
    assert plan.matrix.digest != make_matrix().digest


def test_a_filter_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean model"):
        Filter.parse("modle=one")
    with pytest.raises(UsageError, match="bad filter term"):
        Filter.parse("model=one,rpc")
    with pytest.raises(UsageError, match="leaves no cell"):
        make_plan(make_matrix(), ["local"], Filter.parse("three/*"))
    with pytest.raises(UsageError, match="leaves no case"):
        make_plan(make_matrix(), ["local"], Filter.parse("case=haiku"))
