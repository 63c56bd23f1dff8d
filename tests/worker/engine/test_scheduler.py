from __future__ import annotations

from tests.fakes.runner import EOS, ByteVocab
from worker.engine.batch import Batch
from worker.engine.events import Failed, Finished, FinishReason, TokenEvent
from worker.engine.params import SamplingParams
from worker.engine.request import GenerateRequest
from worker.engine.runner import Sample
from worker.engine.scheduler import Scheduler
from worker.engine.sequence import Sequence
from worker.engine.slots import CELLS_PER_BLOCK, SlotPool

ROOM = 16 * CELLS_PER_BLOCK


def scheduler(slots: int = 4, blocks: int = 16, batch: int = 64) -> Scheduler:
    return Scheduler(SlotPool(slots, blocks * CELLS_PER_BLOCK), batch)


def sequence(
    name: str, prompt: int = 10, max_tokens: int = 20, *, reproducible: bool = False
) -> Sequence:
    params = SamplingParams(max_tokens=max_tokens)
    request = GenerateRequest(name, tuple([65] * prompt), params, reproducible)
    return Sequence(request, ByteVocab(), ROOM, 0.0)


def shape(batches: list[Batch]) -> list[list[tuple[str, int, int, bool]]]:
    return [
        [(i.seq.id, i.start, len(i.tokens), i.sampled) for i in batch.items] for batch in batches
    ]


def step(it: Scheduler, token: int = 66) -> list[list[tuple[str, int, int, bool]]]:
    """One step in which everyone samples the same token."""
    it.admit(0.0)
    batches = it.schedule()
    for batch in batches:
        it.update(batch, [Sample(token)] * len(batch.sampled), 0.0)
    it.retire()
    return shape(batches)


def test_a_prompt_is_computed_and_then_each_step_brings_a_token() -> None:
    it = scheduler()
    it.add(sequence("a"))
    assert step(it) == [[("a", 0, 10, True)]]
    assert step(it) == [[("a", 10, 1, True)]]
    assert step(it) == [[("a", 11, 1, True)]]


def test_a_long_prompt_is_computed_in_chunks_and_samples_only_at_its_end() -> None:
    it = scheduler(batch=64)
    it.add(sequence("a", prompt=150))
    steps = [step(it) for _ in range(4)]
    assert steps[:3] == [
        [[("a", 0, 64, False)]],
        [[("a", 64, 64, False)]],
        [[("a", 128, 22, True)]],
    ]
    assert steps[3] == [[("a", 150, 1, True)]]


def test_a_long_prompt_does_not_stall_those_who_decode() -> None:
    it = scheduler(batch=64)
    it.add(sequence("streaming", max_tokens=50))
    step(it)
    it.add(sequence("long", prompt=600))
    for at in range(5):
        ((streaming, prompt),) = step(it)
        assert streaming == ("streaming", 10 + at, 1, True)
        assert prompt[0] == "long" and prompt[2] == 63


def test_what_the_first_prompt_leaves_of_the_budget_goes_to_the_next() -> None:
    it = scheduler(batch=64)
    for name in "abc":
        it.add(sequence(name, prompt=40))
    assert step(it) == [[("a", 0, 40, True), ("b", 0, 24, False)]]
    assert step(it) == [[("a", 40, 1, True), ("b", 24, 16, True), ("c", 0, 40, True)]]


def test_more_decoding_sequences_than_budget_still_leave_the_oldest_prompt_a_token() -> None:
    it = scheduler(slots=8, batch=4)
    for n in range(6):
        it.add(sequence(f"d{n}", prompt=1))
    while sum(seq.is_decoding for seq in it.running) < 6:
        step(it)
    it.add(sequence("late", prompt=5))
    ((*decoding, late),) = step(it)
    assert len(decoding) == 6
    assert late == ("late", 0, 1, False)


def test_reproducible_sequences_share_no_batch() -> None:
    it = scheduler()
    it.add(sequence("a"))
    it.add(sequence("r", reproducible=True))
    it.add(sequence("b"))
    it.add(sequence("s", reproducible=True))
    names = [[name for name, *_ in batch] for batch in step(it)]
    assert names == [["a", "b"], ["r"], ["s"]]
    names = [[name for name, *_ in batch] for batch in step(it)]
    assert names == [["a", "b"], ["r"], ["s"]]


def test_a_reproducible_prompt_is_cut_at_whole_blocks_whatever_else_runs() -> None:
    def cuts(others: int) -> list[tuple[int, int]]:
        it = scheduler(slots=16, batch=300)
        for n in range(others):
            it.add(sequence(f"o{n}", prompt=100 + n, max_tokens=90))
        it.add(sequence("r", prompt=600, max_tokens=2, reproducible=True))
        found = []
        for _ in range(40):
            for batch in step(it):
                found += [(start, size) for name, start, size, _ in batch if name == "r"]
        return found

    assert cuts(0) == [(0, 256), (256, 256), (512, 88), (600, 1)]
    assert cuts(3) == cuts(0)
    assert cuts(12) == cuts(0)


def test_admission_waits_for_the_worst_case_need_and_keeps_the_order() -> None:
    it = scheduler(slots=4, blocks=4)
    big = 2 * CELLS_PER_BLOCK + 1
    it.add(sequence("first", prompt=big, max_tokens=10))
    it.add(sequence("second", prompt=big, max_tokens=10))
    it.add(sequence("small"))
    assert [seq.id for seq in it.admit(0.0)] == ["first"]
    assert it.pool.used_blocks == 3
    it.cancel("first", 0.0)
    assert it.retire() == [0]
    assert [seq.id for seq in it.admit(0.0)] == ["second", "small"]


def test_slots_bound_how_many_run() -> None:
    it = scheduler(slots=2)
    for n in range(5):
        it.add(sequence(f"s{n}"))
    step(it)
    assert [seq.id for seq in it.running] == ["s0", "s1"]
    assert [seq.id for seq in it.waiting] == ["s2", "s3", "s4"]


def test_the_end_token_ends_a_sequence_without_being_printed() -> None:
    it = scheduler()
    it.add(sequence("a"))
    it.admit(0.0)
    (batch,) = it.schedule()
    (finished,) = it.update(batch, [Sample(EOS)], 0.0)
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.timings.completion_tokens) == (FinishReason.EOS, 0)
    assert it.retire() == [0]
    assert not it.has_work


def test_max_tokens_ends_with_length_right_after_its_token() -> None:
    it = scheduler()
    it.add(sequence("a", max_tokens=1))
    it.admit(0.0)
    (batch,) = it.schedule()
    token, finished = it.update(batch, [Sample(66)], 0.0)
    assert isinstance(token, TokenEvent) and token.text == "B"
    assert isinstance(finished, Finished) and finished.reason is FinishReason.LENGTH


def test_a_failed_batch_ends_its_sequences_and_nobody_elses() -> None:
    it = scheduler()
    it.add(sequence("a"))
    it.add(sequence("r", reproducible=True))
    it.admit(0.0)
    shared, own = it.schedule()
    (failed,) = it.fail(shared, "DECODE_FAILED", "gone", retriable=True)
    assert isinstance(failed, Failed) and failed.request_id == "a"
    it.update(own, [Sample(66)], 0.0)
    assert it.retire() == [0]
    assert step(it) == [[("r", 10, 1, True)]]


def test_cancel_ends_running_and_waiting_ones_once() -> None:
    it = scheduler(slots=1)
    it.add(sequence("running"))
    it.add(sequence("waiting"))
    it.admit(0.0)
    for name in ("running", "waiting"):
        (event,) = it.cancel(name, 1.0)
        assert isinstance(event, Finished) and event.reason is FinishReason.CANCELLED
        assert it.cancel(name, 1.0) == []
    it.retire()
    assert not it.has_work
    assert it.cancel("nobody", 1.0) == []
