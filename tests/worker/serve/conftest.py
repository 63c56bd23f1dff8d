from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rigs.worker import WorkerProcess, running_worker


@pytest.fixture(scope="session")
def worker() -> Iterator[WorkerProcess]:
    """A real worker on ref-llama, shared: tests leave it as they found it."""
    yield from running_worker("--worker-id", "shared", "--model-id", "ref-llama")
