"""The list of clients fits what is there."""

from __future__ import annotations

import ast

from tests.conformance.clients import GROUPS
from tests.conformance.results import FEATURES
from tests.conformance.run import SUITES

FILES = sorted(path for path in SUITES.glob("*.py") if path.name != "conftest.py")


def test_each_suite_is_run_by_one_group() -> None:
    assert sorted(suite.file for group in GROUPS for suite in group.suites) == [
        path.name for path in FILES
    ]
    assert all(bool(group.pypi) != bool(group.npm) for group in GROUPS)


def test_each_test_of_a_suite_has_a_column_of_the_table() -> None:
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                [name] = [
                    call.args[0].value
                    for call in node.decorator_list
                    if isinstance(call, ast.Call)
                    and isinstance(call.func, ast.Name)
                    and call.func.id == "feature"
                    and isinstance(call.args[0], ast.Constant)
                ]
                assert name in FEATURES, f"{path.name}: {node.name}"
