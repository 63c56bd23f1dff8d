from __future__ import annotations

from collections.abc import Iterator

import pytest

from worker.chat.sandbox import TemplateSandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[TemplateSandbox]:
    with TemplateSandbox() as sandbox:
        yield sandbox
