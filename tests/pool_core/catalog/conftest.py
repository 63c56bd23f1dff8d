from __future__ import annotations

from pathlib import Path

import pytest

from pool_core.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.from_env({"LLORCH_HOME": str(tmp_path / "home")})
