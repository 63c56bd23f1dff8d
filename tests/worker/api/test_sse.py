from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from worker.api.sse import PING, encode, json_logprob, to_json, while_connected, with_pings


@pytest.mark.parametrize("text", ["a\nb\r\n", "\x85", "\u2028\u2029", "\x1c\x0b", "🎉 é", "\x00"])
def test_an_event_is_one_line_to_every_client(text: str) -> None:
    encoded = to_json({"t": text})
    assert len(encoded.splitlines()) == 1
    assert json.loads(encoded) == {"t": text}
    assert encode(text).count(b"\n\n") == 1


def test_impossible_logprobs_stay_json() -> None:
    assert json_logprob(float("-inf")) == -9999.0
    assert json_logprob(-0.25) == -0.25


def test_pings_fill_the_silence_and_only_that() -> None:
    async def slow(gate: asyncio.Event) -> AsyncGenerator[bytes, None]:
        yield b"a"
        await gate.wait()
        yield b"b"

    async def run() -> list[bytes]:
        gate = asyncio.Event()
        seen = []
        async for chunk in with_pings(slow(gate), every_s=0.01):
            seen.append(chunk)
            if seen.count(PING) == 2:
                gate.set()
        return seen

    assert asyncio.run(run()) == [b"a", PING, PING, b"b"]


def test_closing_a_pinged_stream_closes_what_it_wraps() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            yield b"a"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def run() -> None:
        stream = with_pings(endless(), every_s=0.001)
        assert [await anext(stream), await anext(stream)] == [b"a", PING]
        await stream.aclose()

    asyncio.run(run())
    assert closed.is_set()


def test_work_is_cancelled_when_the_client_leaves() -> None:
    async def run() -> bool:
        cancelled = False
        gone = asyncio.Event()

        async def receive() -> Message:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def work() -> None:
            nonlocal cancelled
            gone.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled = True
                raise

        with pytest.raises(ClientDisconnect):
            await while_connected(receive, work())
        return cancelled

    assert asyncio.run(run())
