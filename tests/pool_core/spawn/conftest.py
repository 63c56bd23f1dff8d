from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.pool import FakePool


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[FakePool]:
    with FakePool(tmp_path / "home") as pool:
        yield pool
