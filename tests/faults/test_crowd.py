from __future__ import annotations

import pytest

from tests.faults.crowd import BACKENDS, PROMPTS, distinct_answers, serving


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_reproducible_request_gets_the_same_bytes_in_any_crowd(backend: str) -> None:
    with serving(backend) as worker:
        answers = distinct_answers(worker.url, requests=42, others=6)
    assert {at: len(counts) for at, counts in answers.items()} == dict.fromkeys(
        range(len(PROMPTS)), 1
    )
    assert sum(counts.total() for counts in answers.values()) == 42
