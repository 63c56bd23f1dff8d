from __future__ import annotations

from tests.fakes.runner import ByteVocab, FakeSampler
from worker.engine.batch import Batch, BatchItem
from worker.engine.pace import Pace
from worker.engine.request import GenerateRequest
from worker.engine.sequence import Sequence


def batch(*sizes: int) -> Batch:
    seq = Sequence(GenerateRequest("a", (1,)), FakeSampler(), ByteVocab(), 1000, 0.0)
    return Batch([BatchItem(seq, slot, 0, [1] * size, True) for slot, size in enumerate(sizes)])


def test_at_first_nothing_is_known() -> None:
    pace = Pace()
    assert pace.prompt_tokens is None
    pace.note(batch(1, 1, 1), 0.1)  # tokens of answers tell nothing of prompts
    assert pace.prompt_tokens is None


def test_a_step_computes_as_much_of_prompts_as_takes_a_second() -> None:
    pace = Pace()
    for _ in range(30):
        pace.note(batch(200), 2.0)
    assert pace.prompt_tokens == 100
    for _ in range(30):
        pace.note(batch(200), 0.1)
    assert pace.prompt_tokens is not None and 1900 < pace.prompt_tokens <= 2000
