"""An answer's pieces do not depend on when its events came."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from worker.api.turn import Answer, Piece, Reader
from worker.chat.parsers.answer import MarkedParser, ReasoningMarks
from worker.engine.events import EngineEvent, Finished, FinishReason, TokenEvent
from worker.engine.stream import EventBuffer, Generation

TEXTS = st.lists(st.sampled_from(["a", "", "b ", "<", "think>", "</think>", "\n"]), max_size=12)


async def read(events: list[EngineEvent], cuts: set[int]) -> list[Piece]:
    """The pieces, with the reader running only where the events are cut."""
    buffer = EventBuffer(limit=100)
    parser = MarkedParser(ReasoningMarks("<think>", "</think>"), None, ())
    generation = Generation("a", buffer, lambda name: True)
    answer = Answer([Reader(generation, parser, allows_many_calls=True)])

    async def collect() -> list[Piece]:
        return [piece async for piece in answer.pieces()]

    collecting = asyncio.create_task(collect())
    for at, event in enumerate(events):
        buffer.put(event)
        if at in cuts:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    return await collecting


@given(texts=TEXTS, cuts=st.sets(st.integers(0, 12)))
def test_however_events_come_together_the_pieces_are_the_same(
    texts: list[str], cuts: set[int]
) -> None:
    events: list[EngineEvent] = [
        TokenEvent("a", at, at, text, text.encode()) for at, text in enumerate(texts)
    ]
    events.append(Finished("a", FinishReason.EOS, "."))
    assert asyncio.run(read(events, cuts)) == asyncio.run(read(events, set(range(20))))
