from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rigs.api_server import ApiServer, serve_api


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    """A ready server that answers "Paris." to everything; tests leave it as they found it."""
    with serve_api() as server:
        yield server
