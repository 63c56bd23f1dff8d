from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    engine = Engine(runner)
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
    assert (runner.started_slots, runner.used_cells) == ([], 0)
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.cells_used) == (0, 0, 0)
    assert (stats.requests_total, stats.tokens_total, stats.prompt_tokens_total) == (1, 1, 5)


def test_cancel_frees_the_slot_before_the_next_step() -> None:
    runner = FakeRunner()
    engine = Engine(runner)
    engine.add(request("a"))
    engine.step()
    assert runner.started_slots == [0]
    (event,) = engine.cancel("a")
    assert isinstance(event, Finished) and event.reason is FinishReason.CANCELLED
    assert runner.started_slots == []
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
    assert runner.started_slots == []
    engine.add(request("c"))
    assert text(run(engine), "c") == "fine"
    assert engine.stats().failed_total == 2


def test_a_sequence_that_cannot_start_fails_alone() -> None:
    runner = FakeRunner(b"fine")
    engine = Engine(runner)
    engine.add(request("a"))
    engine.add(request("b"))
    runner.start_error = broken("no memory for its context")
    events = run(engine)
    failed = [e for e in events if isinstance(e, Failed)]
    assert [e.request_id for e in failed] == ["a"]
    assert text(events, "b") == "fine"
    assert runner.started_slots == []


def test_fail_all_ends_everyone_running_or_waiting() -> None:
    runner = FakeRunner(num_slots=1)
    engine = Engine(runner)
    engine.add(request("running"))
    engine.step()
    engine.add(request("waiting"))
    events = engine.fail_all("INTERNAL", "a bug")
    assert [(type(e), e.request_id) for e in events] == [(Failed, "running"), (Failed, "waiting")]
    assert not engine.has_work and runner.started_slots == []


def test_an_unforeseen_exception_loses_no_event() -> None:
    runner = FakeRunner(b"")
    engine = Engine(runner)
    engine.add(request("done"))
    engine.add(request("unlucky", reproducible=True))
    decode = runner.decode

    def decode_with_a_bug(batch: Batch) -> list[Sample]:
        if batch.items[0].seq.id == "unlucky":
            raise ZeroDivisionError
        return decode(batch)

    runner.decode = decode_with_a_bug  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        engine.step()
    events = engine.fail_all("INTERNAL", "a bug")
    assert [(type(e), e.request_id) for e in events] == [(Finished, "done"), (Failed, "unlucky")]
    assert runner.started_slots == []


def test_the_shorter_of_context_and_cache_bounds_a_sequence() -> None:
    assert Engine(FakeRunner(num_cells=1000)).max_sequence_tokens == 768
    assert Engine(FakeRunner(context_length=300)).max_sequence_tokens == 300
    engine = Engine(FakeRunner(context_length=20))
    engine.add(request("a", b"x" * 19, max_tokens=100))
    assert len([e for e in run(engine) if isinstance(e, TokenEvent)]) == 1


action = st.one_of(
    st.tuples(
        st.just("add"), st.integers(1, 700), st.integers(1, 40), st.booleans(), st.booleans()
    ),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("step"), st.integers(1, 6)),
    st.tuples(st.just("break")),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(action, max_size=40))
def test_whatever_happens_each_request_ends_once_and_no_cell_is_lost(
    actions: list[tuple[object, ...]],
) -> None:
    runner = FakeRunner(num_slots=3, num_cells=4 * 256, max_batch_tokens=50)
    engine = Engine(runner)
    events: list[EngineEvent] = []
    added = 0

    def check() -> None:
        stats = engine.stats()
        assert 0 <= stats.cells_used <= stats.cells_total == 1024
        assert runner.used_cells <= stats.cells_used
        assert len(runner.started_slots) == stats.running <= stats.slots

    for name, *args in actions:
        match name, args:
            case "add", (int(prompt), int(tokens), bool(reproducible), bool()):
                length = min(prompt, engine.max_sequence_tokens - 1)
                engine.add(request(f"{added}", b"p" * length, tokens, reproducible=reproducible))
                added += 1
            case "cancel", (int(which),):
                events += engine.cancel(f"{which}")
            case "step", (int(times),):
                for _ in range(times):
                    events += engine.step()
                    check()
            case _:
                runner.error = broken()
        check()
    for _ in range(3000):  # far more than all of it can need: nobody starves
        if not engine.has_work:
            break
        events += engine.step()
        check()
    assert not engine.has_work
    ends = Counter(e.request_id for e in events if not isinstance(e, TokenEvent))
    assert ends == {f"{n}": 1 for n in range(added)}
    assert engine.stats().cells_used == runner.used_cells == 0
