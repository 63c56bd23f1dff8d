from __future__ import annotations

import pytest

from pool_core.errors import UsageError
from pool_core.units import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1000", 1000),
        ("512M", 512 << 20),
        ("2g", 2 << 30),
        ("2GiB", 2 << 30),
        ("64KB", 64 << 10),
        ("1.5T", 3 << 39),
        (" 7B ", 7),
    ],
)
def test_sizes_are_binary_whatever_they_are_called(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1", "1e9", "2X", "1,5G", "nan", "9" * 30, "1 G"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(text)
