from __future__ import annotations

import pytest

from tests.fakes.runner import FakeRunner, broken
from worker.engine.batch import Batch
from worker.engine.engine import Engine
from worker.engine.events import EngineEvent, Failed, Finished, FinishReason, TokenEvent
from worker.engine.params import SamplingParams
from worker.engine.request import GenerateRequest
from worker.engine.runner import Sample


def request(
    name: str, prompt: bytes = b"hello", max_tokens: int = 8, *, reproducible: bool = False
) -> GenerateRequest:
    return GenerateRequest(name, tuple(prompt), SamplingParams(max_tokens=max_tokens), reproducible)


def run(engine: Engine) -> list[EngineEvent]:
    events = []
    while engine.has_work:
        events += engine.step()
    return events


def text(events: list[EngineEvent], name: str) -> str:
    return "".join(
        e.text for e in events if isinstance(e, TokenEvent | Finished) and e.request_id == name
    )


def test_it_says_what_the_model_says() -> None:
    engine = Engine(FakeRunner(b"Paris."))
    engine.add(request("q"))
    events = run(engine)
    assert text(events, "q") == "Paris."
    assert isinstance(events[-1], Finished) and events[-1].reason is FinishReason.EOS


def test_several_run_at_once_and_each_gets_its_own_answer() -> None:
    runner = FakeRunner(num_slots=3)
    engine = Engine(runner, drafts=False)
    for name in ("one", "two", "three", "four"):
        engine.add(request(name, name.encode(), max_tokens=6))
    events = run(engine)
    assert [text(events, n) for n in ("one", "two", "three", "four")] == [
        "oneone",
        "twotwo",
        "threet",
        "fourfo",
    ]
    assert max(len(shape) for shape in runner.shapes) == 3


def test_a_slot_is_released_when_its_sequence_ends() -> None:
    runner = FakeRunner(b"x")
    engine = Engine(runner)
    engine.add(request("a"))
    run(engine)
    assert runner.used_cells == 0
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.cache.cells_used) == (0, 0, 0)
    assert (stats.requests_total, stats.tokens_total, stats.prompt_tokens_total) == (1, 1, 5)


def test_cancel_frees_the_slot_before_the_next_step() -> None:
    runner = FakeRunner()
    engine = Engine(runner)
    engine.add(request("a"))
    engine.step()
    assert engine.stats().running == 1
    (event,) = engine.cancel("a")
    assert isinstance(event, Finished) and event.reason is FinishReason.CANCELLED
    assert (engine.stats().running, runner.used_cells) == (0, 0)
    assert engine.cancel("a") == []
    assert engine.stats().cancelled_total == 1


def test_an_error_fails_the_batch_and_the_engine_goes_on() -> None:
    runner = FakeRunner(b"fine")
    engine = Engine(runner)
    engine.add(request("a"))
    engine.add(request("b"))
    runner.error = broken("the device is gone")
    events = engine.step()
    assert [(type(e), e.request_id) for e in events] == [(Failed, "a"), (Failed, "b")]
    assert isinstance(events[0], Failed) and events[0].message == "the device is gone"
    engine.check_integrity()
    engine.add(request("c"))
    assert text(run(engine), "c") == "fine"
    assert engine.stats().failed_total == 2


def test_a_sequence_that_cannot_start_fails_alone() -> None:
    runner = FakeRunner(b"fine")
    engine = Engine(runner)
    engine.add(request("a", reproducible=True))
    engine.add(request("b"))
    runner.isolate_error = broken("no memory for its context")
    events = run(engine)
    failed = [e for e in events if isinstance(e, Failed)]
    assert [e.request_id for e in failed] == ["a"]
    assert text(events, "b") == "fine"
    engine.check_integrity()


def test_fail_all_ends_everyone_running_or_waiting() -> None:
    runner = FakeRunner(num_slots=1)
    engine = Engine(runner)
    engine.add(request("running"))
    engine.step()
    engine.add(request("waiting"))
    events = engine.fail_all("INTERNAL", "a bug")
    assert [(type(e), e.request_id) for e in events] == [(Failed, "running"), (Failed, "waiting")]
    assert not engine.has_work
    engine.check_integrity()


def test_an_unforeseen_exception_loses_no_event() -> None:
    runner = FakeRunner(b"")
    engine = Engine(runner)
    engine.add(request("done"))
    engine.add(request("unlucky", reproducible=True))
    decode = runner.decode

    def decode_with_a_bug(batch: Batch) -> list[list[Sample]]:
        if batch.items[0].seq.id == "unlucky":
            raise ZeroDivisionError
        return decode(batch)

    runner.decode = decode_with_a_bug  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        engine.step()
    events = engine.fail_all("INTERNAL", "a bug")
    assert [(type(e), e.request_id) for e in events] == [(Finished, "done"), (Failed, "unlucky")]
    engine.check_integrity()


def test_the_shorter_of_context_and_cache_bounds_a_sequence() -> None:
    assert Engine(FakeRunner(num_cells=1000)).max_sequence_tokens == 768
    assert Engine(FakeRunner(context_length=300)).max_sequence_tokens == 300
    engine = Engine(FakeRunner(context_length=20))
    engine.add(request("a", b"x" * 19, max_tokens=100))
    assert len([e for e in run(engine) if isinstance(e, TokenEvent)]) == 1


def test_a_fatal_error_costs_the_others_their_cells_and_nothing_else() -> None:
    """A sequence that is not in the broken batch is computed anew in the new context."""
    runner = FakeRunner(max_batch_tokens=64)
    engine = Engine(runner, drafts=False)
    engine.add(request("a", b"a" * 100))
    engine.add(request("b", b"b" * 20, max_tokens=5))
    runner.error = broken()
    events = engine.step()  # a's first chunk fills the step
    assert [(type(e), e.request_id) for e in events] == [(Failed, "a")]
    assert runner.num_resets == 1
    assert text(run(engine), "b") == "bbbbb"
    engine.check_integrity()
    assert engine.stats().resets_total == 1
