from __future__ import annotations

from tests.fakes.runner import EOS, ByteVocab, FakeSampler
from worker.engine.events import EngineEvent, Finished, FinishReason, TokenEvent
from worker.engine.params import SamplingParams
from worker.engine.request import GenerateRequest
from worker.engine.residents import Resident
from worker.engine.runner import Sample
from worker.engine.sequence import Sequence


def sequence(room: int = 1000, **params: object) -> Sequence:
    request = GenerateRequest("s", (1, 2, 3), SamplingParams(**params))  # type: ignore[arg-type]
    return Sequence(request, FakeSampler(), ByteVocab(), room, now=10.0)


def say(seq: Sequence, *tokens: int) -> list[EngineEvent]:
    return [event for token in tokens for event in seq.accept([Sample(token)], 12.0)]


def text(events: list[EngineEvent]) -> str:
    return "".join(e.text for e in events if isinstance(e, TokenEvent | Finished))


def test_text_comes_with_the_token_that_completes_a_character() -> None:
    seq = sequence()
    events = say(seq, *"é!".encode())
    assert [e.text for e in events if isinstance(e, TokenEvent)] == ["", "é", "!"]
    assert [e.index for e in events if isinstance(e, TokenEvent)] == [0, 1, 2]
    assert [e.raw for e in events if isinstance(e, TokenEvent)] == [b"\xc3", b"\xa9", b"!"]


def test_a_stop_string_ends_it_and_is_not_part_of_the_text() -> None:
    events = say(sequence(stop=("!!",)), *b"a!b!!")
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.reason, last.stop_string) == (FinishReason.STOP_STRING, "!!")
    assert text(events) == "a!b"


def test_text_held_back_for_a_stop_string_comes_with_the_end() -> None:
    events = say(sequence(stop=("!!",), max_tokens=2), *b"a!")
    assert [e.text for e in events] == ["a", "", "!"]  # type: ignore[union-attr]


def test_half_a_character_at_the_end_is_a_replacement_character() -> None:
    last = say(sequence(max_tokens=1), 0xC3)[-1]
    assert isinstance(last, Finished) and last.text == "\ufffd"


def test_the_end_token_is_a_token_like_any_other_when_told_to_ignore_it() -> None:
    events = say(sequence(ignore_eos=True), EOS, 65)
    assert [type(e) for e in events] == [TokenEvent, TokenEvent]
    assert text(events) == "A"


def test_room_bounds_the_output_whatever_max_tokens_says() -> None:
    seq = sequence(room=5, max_tokens=100)
    assert seq.max_cells == 5
    last = say(seq, 65, 66)[-1]
    assert isinstance(last, Finished) and last.reason is FinishReason.LENGTH


def test_timings_tell_waiting_prefill_and_decoding_apart() -> None:
    seq = sequence(max_tokens=2)
    seq.start(Resident(0, seq.tokens, None), now=11.0)
    seq.accept([Sample(65)], 13.0)
    last = seq.accept([Sample(66)], 17.0)[-1]
    assert isinstance(last, Finished)
    t = last.timings
    assert (t.queued_s, t.prefill_s, t.decode_s) == (1.0, 2.0, 4.0)
    assert (t.prompt_tokens, t.completion_tokens) == (3, 2)


def test_timings_of_one_that_never_started_are_all_waiting() -> None:
    t = sequence().finish(FinishReason.CANCELLED, 15.0).timings
    assert (t.queued_s, t.prefill_s, t.decode_s) == (5.0, 0.0, 0.0)
