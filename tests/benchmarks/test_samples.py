"""Measuring in turn, and what is said of it."""

from __future__ import annotations

from functools import partial

import pytest

from benchmarks.samples import alternate, compared, ratio, ratio_range


def test_sides_take_turns_and_the_first_turn_does_not_count() -> None:
    calls: list[tuple[str, int]] = []

    def side(name: str, turn: int) -> int:
        calls.append((name, turn))
        return turn

    found = alternate(3, {name: partial(side, name) for name in ("ours", "theirs")})
    assert found == {"ours": [1, 2, 3], "theirs": [1, 2, 3]}
    assert [name for name, turn in calls if turn == 0] == ["theirs", "ours"]
    assert [name for name, turn in calls if turn == 1] == ["ours", "theirs"]
    assert [name for name, turn in calls if turn == 2] == ["theirs", "ours"]


def test_ratio_is_that_of_the_medians_whatever_one_turn_did() -> None:
    assert ratio([10, 12, 1000], [5, 6, 7]) == 2


def test_range_pairs_what_was_measured_in_the_same_turn() -> None:
    assert ratio_range([10, 30], [10, 20]) == (1, 1.5)
    assert compared([10, 30], [10, 20]) == "1.33 (1.00–1.50)"


def test_range_of_unequal_numbers_of_turns_is_an_error() -> None:
    with pytest.raises(ValueError):
        ratio_range([1, 2], [1])
